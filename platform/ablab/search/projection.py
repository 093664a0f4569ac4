"""What a study leaves beside its trials: `outcome.json` and what MLflow shows. All of it can be made again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablab.search.checkpoints import LOSS
from ablab.search.outcome import Judged, Outcome, outcome_json
from ablab.search.spec import VALIDATION_LOSS
from ablab.search.stored import StoredStudy
from ablab.spec.canonical import canonical_json
from ablab.store.files import write_json
from ablab.tracking.studies import StudyView, TrialView
from ablab.tracking.views import Status

OUTCOME, FIGURES = "outcome.json", "figures"
STATUS: Mapping[str, Status] = {
    "complete": "finished",
    "pruned": "interrupted",
    "failed": "failed",
    "running": "running",
    "waiting": "running",
}


def write_outcome(folder: Path, stored: StoredStudy) -> None:
    """Write `outcome.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / OUTCOME, outcome_json(stored.outcome))


def study_view(stored: StoredStudy, folder: Path, *, ended: bool) -> StudyView:
    """What MLflow shows. folder: of its files. ended: whether or not trials are running, this command has ended."""
    data = outcome_json(stored.outcome)
    metrics, rows = data["metrics"], [row for row in data["rows"] if row["state"] != "waiting"]
    watched = _watched(stored.design)
    files = [folder / OUTCOME, *sorted((folder / FIGURES).glob("*.png"))]
    return StudyView(
        id=stored.id,
        experiment=stored.experiment,
        label=data["label"],
        scale=data["scale"],
        question=data["question"],
        outcome_line=outcome_line(stored.outcome),
        description_md=_description(stored.outcome),
        status="running" if not ended else "finished" if data["winners"] else "interrupted",
        started_ms=min((row["began_ms"] for row in rows), default=0),
        finished_ms=max((row["ended_ms"] or 0 for row in rows), default=0) if ended else None,
        trials=tuple(
            _trial(row, metrics, watched, row["number"] in data["best"], row["number"] in stored.running)
            for row in rows
        ),
        params={"objectives": ", ".join(f"{d} {m}" for d, m in zip(data["directions"], metrics, strict=True))},
        metrics=_parent_metrics(data),
        artifacts={str(file.relative_to(folder)): file for file in files},
    )


def outcome_line(outcome: Outcome) -> str:
    """'trial 7: perplexity 41.2 searched, 42 [41, 43] on fresh replicates, against the base -1.2 % [-2, -0.4]'."""
    if not outcome.winners:
        return f"{len(outcome.rows)} trials so far"
    same = outcome.base_is_best()
    words = []
    for winner in outcome.winners:
        judged = ", ".join(
            f"{one.metric} {one.searched:.4g} searched, {one.value:.4g} [{one.low:.4g}, {one.high:.4g}] "
            "on fresh replicates" + ("" if same or not one.against_base else f", against the base {one.against_base}")
            for one in winner.judged
        )
        words.append(f"trial {winner.number}: {judged}")
    return ("nothing beat the base, which is " if same else "") + "; ".join(words)


def _watched(design: Mapping[str, Any]) -> str:
    """What its checkpoints are told by: the pruner's suites, else the validation loss."""
    metric = design.get("checkpoint_pruner", {}).get("metric")
    return LOSS if metric in (None, VALIDATION_LOSS) else f"score/{metric}"


def _trial(row: Mapping[str, Any], metrics: list[str], watched: str, best: bool, goes_on: bool) -> TrialView:
    tags = {"ablab.state": row["state"], "ablab.identity": row["identity"], "ablab.best": "yes" if best else "no"}
    more = {"ablab.cause": row["cause"], "ablab.executions": " ".join(row["executions"])}
    if row["duplicate_of"] is not None:
        more["ablab.duplicate_of"] = str(row["duplicate_of"])
    return TrialView(
        number=row["number"],
        params={path: canonical_json(value) for path, value in row["edits"].items()},
        values=dict(zip(metrics, row["values"] or (), strict=False)),
        curves=_curves(row, metrics, watched),
        metrics={"cost/seconds": row["seconds"], "cost/stages": float(row["computed"])},
        status="interrupted" if row["state"] == "running" and not goes_on else STATUS[row["state"]],
        started_ms=row["began_ms"],
        finished_ms=row["ended_ms"],
        tags=tags | {name: value for name, value in more.items() if value},
    )


def _curves(row: Mapping[str, Any], metrics: list[str], watched: str) -> dict[str, tuple[tuple[int, float], ...]]:
    """Values by replicate, and what was watched of every replicate by step."""
    by_replicate = {
        f"replicate/{metric}": tuple((position, values[index]) for position, values in enumerate(row["replicates"]))
        for index, metric in enumerate(metrics)
    }
    by_step = {
        f"{watched}/replicate-{int(position) + 1}": tuple((int(step), value) for step, value in values.items())
        for position, values in row["checkpoints"].items()
    }
    return by_replicate | by_step


def _parent_metrics(data: Mapping[str, Any]) -> dict[str, float]:
    """Of a single winner: searched, fresh, interval; of a front, by trial."""
    found = {"trials": float(len(data["rows"])), "cost/seconds": float(sum(row["seconds"] for row in data["rows"]))}
    for winner in data["winners"]:
        where = "winner" if len(data["winners"]) == 1 else f"front/trial-{winner['number']}"
        for one in winner["judged"]:
            found |= {
                f"{where}/{one['metric']}/searched": one["searched"],
                f"{where}/{one['metric']}/fresh": one["value"],
                f"{where}/{one['metric']}/low": one["low"],
                f"{where}/{one['metric']}/high": one["high"],
            }
    return found


def _description(outcome: Outcome) -> str:
    lines = [f"**{outcome.question}**", ""]
    if outcome.winners:
        lines += [
            "Searched: selection data, replicates of the search. Fresh: final data, replicates with other seeds.",
            "",
            "| | metric | searched | fresh seeds, selection data | fresh seeds, final data | 95 % | against the base |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [_line("base", one) for one in outcome.base]
        lines += [_line(f"trial {winner.number}", one) for winner in outcome.winners for one in winner.judged]
    return "\n".join([*lines, "", f"`run-study {outcome.label} --scale {outcome.scale}`", *outcome.notes])


def _line(name: str, one: Judged) -> str:
    searched = "" if one.searched is None else f"{one.searched:.4g}"
    return (
        f"| {name} | {one.metric} | {searched} | {one.reselected:.4g} | {one.value:.4g} "
        f"| [{one.low:.4g}, {one.high:.4g}] | {one.against_base} |"
    )
