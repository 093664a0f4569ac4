"""What a study leaves beside its trials: `outcome.json` and what MLflow shows. All of it can be made again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ablab.errors import InputError
from ablab.search.outcome import Outcome
from ablab.search.prepare import PreparedStudy
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


def write_outcome(folder: Path, prepared: PreparedStudy, outcome: Outcome, *, ended: bool) -> Path:
    """Write `outcome.json`; ended: the command has reached its end."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {"id": prepared.storage_name, "experiment": prepared.experiment, "ended": ended}
    write_json(folder / OUTCOME, {**outcome_json(outcome), **about})
    return folder / OUTCOME


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """The outcome as JSON-like data, with the best trials and the means of fresh values."""
    found = json.loads(json.dumps(asdict(outcome)))
    for judged in [*found["base"], *(one for winner in found["winners"] for one in winner["judged"])]:
        judged["value"] = sum(judged["fresh"]) / len(judged["fresh"])
    return {**found, "best": [row.number for row in outcome.best()]}


def study_view(folder: Path) -> StudyView:
    """What MLflow shows of a folder that `write_outcome` has written."""
    try:
        data = json.loads((folder / OUTCOME).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / OUTCOME} cannot be read ({error}); run the study again") from error
    metrics, rows = data["metrics"], [row for row in data["rows"] if row["state"] != "waiting"]
    line = outcome_line(data)
    files = [folder / OUTCOME, *sorted((folder / FIGURES).glob("*.png"))]
    return StudyView(
        id=data["id"],
        experiment=data["experiment"],
        label=data["label"],
        scale=data["scale"],
        question=data["question"],
        outcome_line=line,
        description_md=_description(data),
        status="finished" if data["ended"] else "running",
        started_ms=min((row["began_ms"] for row in rows), default=0),
        finished_ms=max((row["ended_ms"] or 0 for row in rows), default=0) if data["ended"] else None,
        trials=tuple(_trial(row, metrics, row["number"] in data["best"]) for row in rows),
        params={"objectives": ", ".join(f"{d} {m}" for d, m in zip(data["directions"], metrics, strict=True))},
        metrics=_parent_metrics(data),
        artifacts={str(file.relative_to(folder)): file for file in files},
    )


def outcome_line(data: Mapping[str, Any]) -> str:
    """'trial 7: perplexity 41.2 searched, 42.0 [41.1, 42.9] on fresh replicates'."""
    if not data["winners"]:
        return f"{len(data['rows'])} trials so far"
    words = []
    for winner in data["winners"]:
        judged = ", ".join(
            f"{one['metric']} {one['searched']:.4g} searched, "
            f"{one['value']:.4g} [{one['low']:.4g}, {one['high']:.4g}] on fresh replicates"
            for one in winner["judged"]
        )
        words.append(f"trial {winner['number']}: {judged}")
    return "; ".join(words)


def _trial(row: Mapping[str, Any], metrics: list[str], best: bool) -> TrialView:
    tags = {"ablab.state": row["state"], "ablab.identity": row["identity"], "ablab.best": "yes" if best else "no"}
    more = {"ablab.cause": row["cause"], "ablab.executions": " ".join(row["executions"])}
    if row["duplicate_of"] is not None:
        more["ablab.duplicate_of"] = str(row["duplicate_of"])
    return TrialView(
        number=row["number"],
        params={path: canonical_json(value) for path, value in row["edits"].items()},
        values=dict(zip(metrics, row["values"] or (), strict=False)),
        by_replicate={
            metric: tuple(values[index] for values in row["replicates"]) for index, metric in enumerate(metrics)
        },
        metrics={"cost/seconds": row["seconds"], "cost/stages": float(row["computed"])},
        status=STATUS[row["state"]],
        started_ms=row["began_ms"],
        finished_ms=row["ended_ms"],
        tags=tags | {name: value for name, value in more.items() if value},
    )


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


def _description(data: Mapping[str, Any]) -> str:
    lines = [f"**{data['question']}**", ""]
    if data["winners"]:
        lines += [
            "Searched: selection data, replicates of the search. Fresh: final data, replicates with other seeds.",
            "",
            "| | metric | searched | fresh seeds, selection data | fresh seeds, final data | 95 % | against the base |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [_line("base", one) for one in data["base"]]
        lines += [_line(f"trial {w['number']}", one) for w in data["winners"] for one in w["judged"]]
    name = data["label"]
    return "\n".join([*lines, "", f"`run-study {name} --scale {data['scale']}`", *data["notes"]])


def _line(name: str, one: Mapping[str, Any]) -> str:
    searched = "" if one["searched"] is None else f"{one['searched']:.4g}"
    change = "" if one["change"] is None else f"{one['change']:+.3g}"
    if one["change_low"] is not None:
        change += f" [{one['change_low']:+.3g}, {one['change_high']:+.3g}]"
    return (
        f"| {name} | {one['metric']} | {searched} | {one['reselected']:.4g} | {one['value']:.4g} "
        f"| [{one['low']:.4g}, {one['high']:.4g}] | {change} |"
    )
