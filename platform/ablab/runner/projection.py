"""From what the store holds to what MLflow shows. Used while a run goes on and by `ablab publish` alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path

from ablab.analysis import Comparison, plot_effects, write_files
from ablab.analysis.corpora import numbers_of
from ablab.analysis.report import build_page, corpora_page, corpus_page, styles_of
from ablab.errors import InputError
from ablab.runner.recorded import report_material, until
from ablab.runner.results import compare_roles, factors, results_folder
from ablab.spec.ablation import Design
from ablab.spec.base import build
from ablab.spec.canonical import canonical_json
from ablab.store import Store
from ablab.store.executions import Execution
from ablab.store.pruned import pruned_steps, removed
from ablab.tracking.views import ArmView, DatasetView, ExecutionView, ModelView, StageView, model_name

CONTEXTS = {"corpus": "train", "generate": "synthetic", "suite": "test"}


def stage_view(store: Store, kind: str, key: str, label: str) -> StageView:
    """One finished stage."""
    return StageView(
        key=key,
        kind=kind,
        directory=store.directory(kind, key),
        identity=store.identity(kind, key),
        result=store.result(kind, key),
        manifest=store.manifest(kind, key),
        label=label,
        draw=partial(_corpus_page, store, key, label) if _has_page(store, kind, key) else None,
    )


def _has_page(store: Store, kind: str, key: str) -> bool:
    """A described corpus has one, unless it was removed since."""
    if kind != "describe":
        return False
    corpus = store.identity(kind, key)["inputs"]["corpus"]
    return any(store.has(made, corpus) for made in ("generate", "corpus"))


def _corpus_page(store: Store, key: str, label: str, folder: Path) -> Mapping[str, Path]:
    """The page of the corpus that a describe stage describes."""
    return _named(corpus_page(key, label, store, folder), folder)


def _named(files: Iterable[Path], folder: Path) -> dict[str, Path]:
    """Files by their names as artifacts."""
    return {path.relative_to(folder).as_posix(): path for path in files}


def execution_view(store: Store, record: Execution, home: Path, project: Path) -> ExecutionView:
    """One recorded execution with its comparison, arms and stages; writes the comparison's files and its page on the
    way."""
    design = build(Design, record.design, record.label)
    comparison, artifacts = _comparison(store, record, design, home, project)
    artifacts |= _corpora(store, record, design, home)
    arms = tuple(_arms(store, record, design, comparison))
    outcome = outcome_line(comparison) if comparison else f"{record.status}: no arm is finished"
    return ExecutionView(
        id=record.id,
        label=f"{record.label} {record.scale}",
        ablation=record.ablation,
        scale=record.scale,
        question=record.question,
        status=record.status,
        outcome_line=outcome,
        description_md=_description(record, comparison),
        design_digest=record.design_digest,
        started_ms=_ms(record.started_at),
        finished_ms=_ms(record.finished_at) if record.finished_at else None,
        arms=arms,
        stages=tuple(_stages(store, record)),
        edits={path: canonical_json(value) for path, value in record.edits.items()},
        parent_metrics=_claim_metrics(comparison) if comparison else {},
        artifacts=artifacts,
        control=design.control,
        headline=tuple(metric.name for metric in comparison.metrics) if comparison else (),
        top=_top(comparison) if comparison else (),
        claimed=tuple(
            leaf
            for leaf in factors(design, design.control)
            if any(leaf == claim.factor or leaf.startswith(f"{claim.factor}.") for claim in design.claims)
        ),
        tags={"ablab.version": record.label, "ablab.code": record.code},
    )


def outcome_line(comparison: Comparison) -> str:
    """The verdicts in one line."""
    counts: dict[str, int] = {}
    for claim in comparison.claims:
        counts[claim.verdict] = counts.get(claim.verdict, 0) + 1
    words = ", ".join(f"{number} {verdict}" for verdict, number in sorted(counts.items()))
    return f"{len(comparison.claims)} claims: {words}" if comparison.claims else "no claims declared"


def _comparison(
    store: Store, record: Execution, design: Design, home: Path, project: Path
) -> tuple[Comparison | None, dict[str, Path]]:
    try:
        comparison = compare_roles(design, record.roles, store)
    except InputError:
        if record.status == "finished":
            raise
        return None, {}  # an execution that ended before its first arm was evaluated
    folder = results_folder(home, record.label, record.scale, record.design_digest)
    files = write_files(comparison, folder)
    plot = folder / "effects.png"
    plot_effects(comparison, plot)
    page, *figures = build_page(report_material(until(record, design, store), comparison, store, project), folder)
    return comparison, _named((*files, plot, page, *figures), folder)


def _corpora(store: Store, record: Execution, design: Design, home: Path) -> dict[str, Path]:
    """The page of all corpora, and its figures."""
    folder = results_folder(home, record.label, record.scale, record.design_digest)
    title = f"{record.label} {record.scale}"
    return _named(corpora_page(title, record.question, design.arm_names(), record.roles, store, folder), folder)


def _arms(store: Store, record: Execution, design: Design, comparison: Comparison | None) -> Iterator[ArmView]:
    judged = [arm for arm, replicates in record.roles.items() if any(_is_judged(store, roles) for roles in replicates)]
    styles = styles_of(design.control, [arm for arm in judged if arm != design.control])
    for arm, replicates in record.roles.items():
        names = design.replicates_of(arm)
        for position, roles in enumerate(replicates):
            done = {role: stage for role, stage in roles.items() if store.has(*stage)}
            yield ArmView(
                arm=arm,
                replicate=names[position].name,
                factors=factors(design, arm),
                metrics=(_metrics(comparison, arm, position) if comparison else {})
                | {f"corpus/{name}": value for name, value in numbers_of(done, store).items()},
                stages={role: key for role, (_, key) in roles.items()},
                datasets=tuple(_datasets(store, done)),
                model=_model(store, record, arm, names[position].name, done),
                differences=_differences(comparison, arm, position) if comparison else {},
                verdicts={c.id: c.verdict for c in comparison.claims if c.arm == arm} if comparison else {},
                remark=_remark(store, done),
                status="finished" if "evaluate" in done else record.status,
                colour=styles[arm]["color"] if arm in styles else "",
            )


def _is_judged(store: Store, roles: Mapping[str, tuple[str, str]]) -> bool:
    return "evaluate" in roles and store.has(*roles["evaluate"])


def _metrics(comparison: Comparison, arm: str, position: int) -> dict[str, float]:
    shown = (*comparison.metrics, *comparison.beside)
    values = {metric.name: comparison.score(arm, metric.name).values[position] for metric in shown}
    return {name: value for name, value in values.items() if value is not None}


def _differences(comparison: Comparison, arm: str, position: int) -> dict[str, float]:
    """From the control in the same replicate, in the unit of the effects: their estimate is the mean of these."""
    found = {}
    for metric in comparison.metrics if arm != comparison.control else ():
        value = comparison.score(arm, metric.name).values[position]
        base = comparison.score(comparison.control, metric.name).values[position]
        if value is not None and base is not None:
            relative = metric.kind == "perplexity"
            found[metric.name] = 100.0 * (value / base - 1.0) if relative else value - base
    return found


def _top(comparison: Comparison) -> tuple[str, ...]:
    """The aggregate first, then groups, then perplexity: what a reader looks at before the suites."""
    kinds = ("aggregate", "group", "perplexity")
    return tuple(metric.name for kind in kinds for metric in comparison.metrics if metric.kind == kind)


def _datasets(store: Store, roles: Mapping[str, tuple[str, str]]) -> Iterator[DatasetView]:
    for role, context in CONTEXTS.items():
        if role in roles:
            kind, key = roles[role]
            result = store.result(kind, key)
            counts = result.get("splits", {}).get("train", result)
            profile = {name: counts[name] for name in ("documents", "words", "tokens") if name in counts}
            yield DatasetView(name=f"{role}-{key[:8]}", key=key, context=context, profile=profile)


def _model(
    store: Store, record: Execution, arm: str, replicate: str, roles: Mapping[str, tuple[str, str]]
) -> ModelView | None:
    if not {"train", "select", "tokenizer"} <= set(roles) or _judged_and_removed(store, roles):
        return None
    return ModelView(
        train=roles["train"][1],
        step=store.result(*roles["select"])["step"],
        tokenizer=store.directory(*roles["tokenizer"]),
        name=model_name(record.ablation, record.scale, arm),
        alias=replicate,
    )


def _judged_and_removed(store: Store, roles: Mapping[str, tuple[str, str]]) -> set[int]:
    """The step whose model was judged, if it was removed from the store since."""
    if not {"train", "select"} <= set(roles):
        return set()
    return {store.result(*roles["select"])["step"]} & pruned_steps(store.directory(*roles["train"]))


def _remark(store: Store, roles: Mapping[str, tuple[str, str]]) -> str:
    """What a reader should know of an arm whose model is not shown."""
    gone = _judged_and_removed(store, roles)
    return f"The model that was judged is not here: {removed(gone)}." if gone else ""


def _stages(store: Store, record: Execution) -> Iterator[StageView]:
    seen: set[str] = set()
    for arm, replicates in record.roles.items():
        for position, roles in enumerate(replicates):
            for role, (kind, key) in roles.items():
                if key not in seen and store.has(kind, key):
                    seen.add(key)
                    yield stage_view(store, kind, key, f"{role} · {arm} r{position + 1}")


def _claim_metrics(comparison: Comparison) -> dict[str, float]:
    values: dict[str, float] = {}
    for claim in comparison.claims:
        if claim.effect is not None:
            values[f"claim/{claim.id}/estimate"] = claim.effect.estimate
            if claim.effect.interval is not None:
                values[f"claim/{claim.id}/low"] = claim.effect.interval.low
                values[f"claim/{claim.id}/high"] = claim.effect.interval.high
    return values


def _description(record: Execution, comparison: Comparison | None) -> str:
    lines = [f"**{record.question}**", ""]
    if comparison is not None:
        lines += ["| claim | verdict | |", "|---|---|---|"]
        lines += [f"| {_cell(c.statement)} | **{c.verdict}** | {_cell(c.words)} |" for c in comparison.claims]
    lines += ["", f"`run-ablation {record.label} --scale {record.scale}`"]
    if record.edits:
        lines += ["", f"Edited: `{canonical_json(record.edits)}`"]
    if record.message:
        lines += ["", record.message]
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Text within a table of Markdown."""
    return " ".join(text.split()).replace("|", "\\|")


def _ms(moment: str) -> int:
    return int(datetime.fromisoformat(moment).timestamp() * 1000)
