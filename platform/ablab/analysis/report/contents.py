"""What the tables of a report hold: results. (`background` has designs, costs and provenance.)"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ablab.analysis.comparison import ClaimResult, Comparison, Effect, Inference, Metric, RelativeChange
from ablab.analysis.report.material import Material, TaskEffect
from ablab.analysis.report.tables import Table
from ablab.analysis.study import MU_DELTA_REL
from ablab.analysis.table import ORACLE_CAUTION, effect_column, oracle_title, score_columns

NOTHING = "–"
SCOPES: dict[Inference, str] = {
    "new items and replicates": "items, replicates",
    "new replicates and some items": "(items), replicates",
    "new replicates": "replicates",
    "new items": "items",
}
STUDY_CHECKPOINT = "The study takes the best checkpoint on these suites themselves; this one was chosen beforehand."
UNSTABLE = "unstable: the baseline is less than two standard errors from 0, so read the change in points"


def claims_table(material: Material) -> Table:
    """Every declared claim with its verdict and whether it was pinned."""
    rows = tuple(_claim_row(claim, material) for claim in material.comparison.claims)
    return Table(
        name="claims",
        title="Claims",
        header=("claim", "verdict", "metric", "difference", "effect", "p", "p (Holm)", "finds", "written"),
        rows=rows,
        left=4,
        marks=tuple(claim.verdict.replace(" ", "-") for claim in material.comparison.claims),
        notes=(
            (
                "Supported: the whole 95 % interval is what the claim says; contradicted: none is; else inconclusive. "
                "p is two-sided against the claim's margin; Holm's family is every declared claim. 'Finds': the "
                "smallest true difference that a run like this finds with 80 % power."
            ),
        ),
    )


def _claim_row(claim: ClaimResult, material: Material) -> tuple[str, ...]:
    effect = claim.effect
    return (
        claim.id,
        claim.verdict,
        claim.metric,
        f"{claim.arm} − {claim.against} {_said(claim)}",
        NOTHING if effect is None else effect_text(effect),
        _p(claim.p),
        _p(claim.p_holm),
        NOTHING if effect is None or effect.detectable is None else f"{effect.detectable:.2f}",
        material.claims[claim.id].status,
    )


def _said(claim: ClaimResult) -> str:
    sign = {"greater": ">", "less": "<", "different": "≠"}[claim.direction]
    margin = -claim.margin if claim.direction == "less" and claim.margin else claim.margin
    return f"{sign}\u00a0{f'±{margin:g}' if claim.direction == 'different' and margin else f'{margin:g}'}"


def effect_text(effect: Effect) -> str:
    """'+1.2 [0.3, 2.1] points'."""
    if effect.interval is None:
        return f"{effect.estimate:+z.2f} {effect.unit}, no interval"
    return f"{effect.estimate:+z.2f} [{effect.interval.low:z.2f}, {effect.interval.high:z.2f}] {effect.unit}"


def _p(value: float | None) -> str:
    if value is None:
        return NOTHING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def scores_table(comparison: Comparison) -> Table:
    """Mean ± standard deviation of every arm, beside chance and models that are no arm."""
    metrics = (*comparison.metrics, *comparison.beside)
    columns = score_columns(comparison, metrics)
    rows = tuple((m.name, *(c.cells[row].plain for c in columns)) for row, m in enumerate(metrics))
    most = max(sum(value is not None for value in score.values) for score in comparison.scores)
    title = "Scores in %" + (f", mean ± standard deviation over {most} replicates" if most > 1 else ", one replicate")
    return Table("scores", title, ("metric", *(c.header for c in columns)), rows, marks=_kinds(metrics))


def effects_table(comparison: Comparison) -> Table:
    """Differences from the control, arms side by side."""
    arms = [arm for arm in comparison.arms if arm != comparison.control]
    columns = [effect_column(comparison, arm, comparison.metrics) for arm in arms]
    rows = tuple((m.name, *(c.cells[row].plain.strip() for c in columns)) for row, m in enumerate(comparison.metrics))
    notes = (
        (
            "In points (perplexity: relative, in %). 95 % intervals for new items and new replicates; * excludes 0; "
            "† one replicate: new items only; ‡ some suites without values of items: these items of those."
        ),
    )
    title = f"Differences from {comparison.control}"
    return Table("effects", title, ("metric", *arms), rows, marks=_kinds(comparison.metrics), notes=notes)


def _kinds(metrics: Sequence[Metric]) -> tuple[str, ...]:
    return tuple("suite" if metric.kind == "suite" else "headline" for metric in metrics)


def sizes_table(material: Material) -> Table:
    """Every effect with its sizes, one row each."""
    rows = tuple(
        (
            f"{e.arm} − {e.against}",
            e.metric,
            SCOPES[e.interval.inference] if e.interval else "no interval",
            effect_text(e),
            _p(e.p),
            _number(e.relative, "+z.2f"),
            _number(e.cohens_h, "+z.3f"),
            _number(e.hedges_g, "+z.2f"),
            _number(e.detectable, ".2f"),
            _study(e),
            _number(e.items, ",d"),
            str(e.replicates),
        )
        for e in material.comparison.effects
    )
    head = ("arms", "metric", "for new", "effect", "p", "relative %", "Cohen's h", "Hedges' g", "finds")
    notes = (
        (
            "'For new': what the interval speaks of; (items): those of some suites. p is not adjusted here. "
            "'Finds': the smallest true difference that a run like this finds with 80 % power. "
            "Study: its own bootstrap (1,000 draws of the items, bounds averaged over seeds), which speaks of neither "
            "new seeds nor their spread, and draws rows that share a story one by one: shown beside, not used."
        ),
    )
    return Table("effect-sizes", "Effect sizes", (*head, "study", "items", "replicates"), rows, left=3, notes=notes)


def _study(effect: Effect) -> str:
    if effect.study_low is None or effect.study_high is None:
        return NOTHING
    return f"[{effect.study_low:z.2f}, {effect.study_high:z.2f}]"


def _number(value: float | None, digits: str) -> str:
    return NOTHING if value is None else f"{value:{digits}}"


def relative_table(material: Material) -> Table | None:
    """Mean relative changes with their terms; None where no arm has one."""
    found = material.comparison.relative
    if not found:
        return None
    rows = [row for one in found for row in _relative_rows(one)]
    notes = [f"Unstable terms are marked. {UNSTABLE.capitalize()}."]
    if found[0].missing:
        notes.append(f"This is not the study's {MU_DELTA_REL}, which also holds {', '.join(found[0].missing)}.")
    else:
        notes.append(STUDY_CHECKPOINT)
    head = ("arm", "suite", "baseline", "SE", "change in points", "relative %", "")
    title = f"{found[0].name} against {material.comparison.control}"
    return Table("relative", title[0].upper() + title[1:], head, tuple(rows), left=2, notes=tuple(notes))


def _relative_rows(one: RelativeChange) -> Iterator[tuple[str, ...]]:
    yield (one.arm, "mean", "", "", f"{one.points:+z.2f}", _number(one.mean, "+z.2f"), "")
    for t in one.terms:
        numbers = (
            f"{t.baseline:.2f}",
            _number(t.baseline_se, ".2f"),
            f"{t.change:+z.2f}",
            _number(t.relative, "+z.2f"),
        )
        yield ("", t.metric, *numbers, "unstable" if t.unstable else "")


def oracle_table(material: Material) -> Table | None:
    """The study's procedure with its own checkpoint rule, one row each; None without learning curves."""
    found = material.comparison.oracle
    if found is None or not found.effects:
        return None
    relative = {one.arm: one for one in found.relative}
    rows: list[tuple[str, ...]] = []
    for arm in relative:
        for effect in (one for one in found.effects if one.arm == arm):
            low, high = _number(effect.low, "+z.2f"), _number(effect.high, "+z.2f")
            interval = NOTHING if effect.low is None else f"[{low}, {high}]"
            rows.append((arm, effect.metric, f"{effect.estimate:+z.2f}", interval, f"{effect.held_out:+z.2f}"))
        rows.append((arm, f"{relative[arm].name}, %", _number(relative[arm].mean, "+z.2f"), "", ""))
    head = ("arm", "suite", "oracle", "study's bootstrap", "held-out")
    notes = tuple(f"{note[0].upper()}{note[1:]}." for note in found.notes)
    return Table("oracle", oracle_title(found), head, tuple(rows), left=2, notes=(ORACLE_CAUTION, *notes))


def components_table(material: Material) -> Table | None:
    """Standard deviations by source; None where no seeds were crossed."""
    rows = tuple(
        (
            f"{c.arm} − {c.against}",
            c.metric,
            f"{c.train_seed:.2f}",
            f"{c.generation_seed:.2f}",
            f"{c.rest:.2f}",
            _number(c.items, ".2f"),
            f"{c.train_seeds} × {c.generation_seeds}",
            c.unit,
        )
        for c in material.comparison.components
    )
    head = ("arms", "metric", "training seed", "generation seed", "rest", "items", "seeds", "unit")
    notes = (
        (
            "Standard deviations of one replicate's difference by source, from a crossed block of seeds. 'Rest' is "
            "their interaction and the noise of answers. With few seeds these are rough."
        ),
    )
    return Table("components", "Variance components", head, rows, left=2, notes=notes) if rows else None


def tasks_table(material: Material) -> Table | None:
    """Differences by task, one row each; None where no suite has several tasks."""
    rows = tuple(_task_row(one) for one in material.tasks)
    head = ("suite", "task", "arm", "group", "difference", "low", "high", "p", "items", "replicates")
    return Table("tasks", "Differences by task, in points", head, rows, left=4) if rows else None


def _task_row(one: TaskEffect) -> tuple[str, ...]:
    effect = one.effect
    low, high = (effect.interval.low, effect.interval.high) if effect.interval else (None, None)
    numbers = (repr(effect.estimate), *("" if v is None else repr(v) for v in (low, high, effect.p)))
    return (one.suite, effect.metric, effect.arm, one.group, *numbers, str(effect.items or ""), str(effect.replicates))
