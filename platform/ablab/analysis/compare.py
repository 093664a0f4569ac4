"""From the stored results of a design to a `Comparison`."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from ablab.analysis.claims import IDENTICAL, judge
from ablab.analysis.comparable import check_comparable
from ablab.analysis.comparison import Comparison, Effect, Kind, Metric, Reference, Score
from ablab.analysis.components import components, crossed_block
from ablab.analysis.curve import load_curve
from ablab.analysis.oracle import oracle
from ablab.analysis.paired import paired_effect
from ablab.analysis.results import ACCURACY, ArmResults, ReplicateResult, load_result
from ablab.analysis.study import relative_change
from ablab.analysis.weighing import score, suites_of, weighing
from ablab.errors import InputError, did_you_mean
from ablab.spec.ablation import Claim, Design, Replicate
from ablab.spec.metrics import AGGREGATE, BITS_PER_BYTE, PERPLEXITY, suite_groups
from ablab.spec.suites import BabyLMSuite

FLOOR = "5-gram"
BITS = Metric(BITS_PER_BYTE, "perplexity", "", None, None)
SMALL_SCORE = 10.0  # of metrics whose scores all lie below it (reading) two decimals are shown


def compare(
    design: Design,
    results: Mapping[str, Sequence[Path | None]],
    *,
    floor: Path | None = None,
    models: Mapping[str, Sequence[Path]] | None = None,
    curves: Mapping[str, Sequence[Path | None]] | None = None,
    identical: Collection[frozenset[str]] = (),
) -> Comparison:
    """Every arm against the control, and every claim's two arms, in every suite, group, the aggregate and perplexity.

    Args:
        design: one scale of an ablation.
        results: evaluate directories by arm, one for every replicate position; None, or no arm, for what is missing.
        floor: directory of the 5-gram model's scores.
        models: evaluate directories of models that are no arm, by name ('GOOD', 'BAD step 500'); scores of several
            under one name are averaged.
        curves: curve directories by arm and position, for the study's own checkpoint rule beside everything else.
        identical: pairs of arms whose corpora are the same words; no claim between them is judged.

    Raises:
        InputError: an arm or a number of replicates is not the design's, a directory cannot be read, or results
            are not comparable; all faults together.
    """
    _check_names(design, results)
    named = {**({FLOOR: (floor,)} if floor is not None else {}), **(models or {})}
    nothing: Sequence[Path | None] = (None,) * len(design.replicates)
    loaded, others = load_arms({arm: results.get(arm, nothing) for arm in design.arm_names()}, named)
    rows = rows_of(design.replicates)
    board = Board(
        arms=tuple(loaded),
        labels={arm.arm: _labels(design, arm.arm) for arm in loaded},
        control=design.control,
        replicates=design.replicates,
        official=official_suites(design),
        others=others,
        notes=(*design_notes(design, rows), *_component_notes(design)),
        claims=design.claims,
        identical=identical,
    )
    found = tabulate(board, suite_groups(design.recipe))
    looks = {
        arm: [None if path is None else load_curve(path) for path in several] for arm, several in (curves or {}).items()
    }
    suites = [metric.name for metric in found.metrics if metric.kind == "suite"]
    return replace(found, oracle=oracle(loaded, looks, design.control, suites, board.official))


@dataclass(frozen=True)
class Board:
    """Loaded results, position by position, and what they are compared by."""

    arms: tuple[ArmResults, ...]
    labels: Mapping[str, Sequence[str]]
    """What a fault calls the result of an arm at a position."""
    control: str
    replicates: tuple[Replicate, ...]
    official: frozenset[str]
    """Suites that are BabyLM's own."""
    others: Mapping[str, Sequence[ReplicateResult]]
    notes: tuple[str, ...]
    claims: tuple[Claim, ...] = ()
    identical: Collection[frozenset[str]] = ()
    """Pairs of arms whose corpora are the same words."""


def tabulate(board: Board, declared: Mapping[str, str]) -> Comparison:
    """Every arm against the control, and every claim's two arms.

    declared: group by suite that must be there, in the order of the tables; further suites follow.

    Raises:
        InputError: no arm has a result, a suite is missing, or results are not comparable.
    """
    pairs = [pair for arm in board.arms for pair in zip(board.labels[arm.arm], arm.replicates, strict=True)]
    present = [(label, result) for label, result in pairs if result is not None]
    if not present:
        raise InputError("no arm has a result; run the ablation first")
    check_comparable([*present, *((name, result) for name, several in board.others.items() for result in several)])
    first = present[0][1]
    _check_suites(declared, first)
    metrics = _metrics(declared, first, [result for _, result in present], board.claims)
    rows = rows_of(board.replicates)
    by_name = {arm.arm: arm for arm in board.arms}
    effects = tuple(_effects(board, by_name, metrics, rows))
    found = [components(by_name[e.arm], by_name[e.against], e, board.replicates) for e in effects]
    suites = [metric.name for metric in metrics if metric.kind == "suite"]
    control = by_name[board.control]
    relative = [relative_change(arm, control, suites, board.official) for arm in board.arms if arm is not control]
    return Comparison(
        control=board.control,
        arms=tuple(by_name),
        replicates=tuple(replicate.name for replicate in board.replicates),
        metrics=metrics,
        scores=tuple(_score(arm, metric) for arm in board.arms for metric in (*metrics, BITS)),
        references=tuple(_reference(name, several, (*metrics, BITS)) for name, several in board.others.items()),
        effects=effects,
        claims=judge(board.claims, effects, len(rows), board.identical),
        relative=tuple(one for one in relative if one is not None),
        components=tuple(one for one in found if one is not None),
        missing=tuple(label for label, result in pairs if result is None),
        beside=(BITS,),
        notes=(*board.notes, *_identical_notes(board.identical), *_metric_notes(first)),
    )


def _check_names(design: Design, results: Mapping[str, Sequence[Path | None]]) -> None:
    known, count = design.arm_names(), len(design.replicates)
    faults = [f"arm {arm!r} is not in the design; {did_you_mean(arm, known)}" for arm in results if arm not in known]
    faults += [
        f"arm {arm} has {len(paths)} results, the design {count} replicates; give a path or None for each"
        for arm, paths in results.items()
        if arm in known and len(paths) != count
    ]
    if faults:
        raise InputError(faults)


def load_arms(
    paths: Mapping[str, Sequence[Path | None]], named: Mapping[str, Sequence[Path]]
) -> tuple[list[ArmResults], dict[str, list[ReplicateResult]]]:
    """Results by arm and position, and of models that are no arm. Each directory is read once; the faults of all are
    reported together."""
    loaded: dict[Path, ReplicateResult] = {}
    faults: list[str] = []
    wanted = [path for several in (*paths.values(), *named.values()) for path in several if path is not None]
    for path in dict.fromkeys(wanted):
        try:
            loaded[path] = load_result(path, like=next(iter(loaded.values()), None))
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(faults)
    arms = [
        ArmResults(arm, tuple(None if path is None else loaded[path] for path in several))
        for arm, several in paths.items()
    ]
    return arms, {name: [loaded[path] for path in several] for name, several in named.items() if several}


def official_suites(design: Design) -> frozenset[str]:
    """Suites of a design that are BabyLM's own."""
    return frozenset(suite.name for suite in design.recipe.evaluation.suites if isinstance(suite, BabyLMSuite))


def _check_suites(declared: Mapping[str, str], result: ReplicateResult) -> None:
    lacking = [suite for suite in declared if suite not in result.scores]
    if lacking:
        raise InputError(
            f"the design judges by {', '.join(lacking)}, but {result.directory} holds "
            f"{', '.join(result.scores) or 'no suite'}; evaluate with the design's suites"
        )


def _metrics(
    declared: Mapping[str, str],
    result: ReplicateResult,
    all_results: Sequence[ReplicateResult],
    claims: Sequence[Claim],
) -> tuple[Metric, ...]:
    """Suites in declared order, groups, the aggregate (of several suites, or where claimed), perplexity."""
    suites = [*declared, *(name for name in result.scores if name not in declared)]
    groups = list(dict.fromkeys(result.scores[suite].group for suite in suites))
    claimed = any(claim.metric == AGGREGATE for claim in claims)
    aggregates = [AGGREGATE] if claimed or len(suites) > 1 else []
    kinds: list[tuple[str, Kind]] = [
        *((name, "suite") for name in suites),
        *((name, "group") for name in groups),
        *((name, "aggregate") for name in aggregates),
    ]
    plain = [Metric(n, kind, "%", _chance(result, n), weighing(result, n).items) for n, kind in kinds]
    small = [max(abs(score(one, metric.name)) for one in all_results) < SMALL_SCORE for metric in plain]
    return (
        *(replace(m, decimals=2) if is_small else m for m, is_small in zip(plain, small, strict=True)),
        Metric(PERPLEXITY, "perplexity", "", None, None),
    )


def _chance(result: ReplicateResult, metric: str) -> float | None:
    chances = [result.scores[suite].chance for suite in suites_of(result, metric)]
    known = [chance for chance in chances if chance is not None]
    return statistics.fmean(known) if len(known) == len(chances) else None


def _score(arm: ArmResults, metric: Metric) -> Score:
    values = tuple(None if result is None else _value(result, metric) for result in arm.replicates)
    known = [v for v in values if v is not None]
    return Score(
        arm=arm.arm,
        metric=metric.name,
        values=values,
        mean=statistics.fmean(known) if known else None,
        spread=statistics.stdev(known) if len(known) > 1 else None,
    )


def _value(result: ReplicateResult, metric: Metric) -> float:
    return result.language_modelling.bits_per_byte if metric is BITS else score(result, metric.name)


def _reference(name: str, several: Sequence[ReplicateResult], metrics: Sequence[Metric]) -> Reference:
    scores = {metric.name: statistics.fmean(_value(result, metric) for result in several) for metric in metrics}
    steps = {result.step for result in several}
    return Reference(name, steps.pop() if len(steps) == 1 else None, scores, len(several))


def _effects(
    board: Board, arms: Mapping[str, ArmResults], metrics: Sequence[Metric], rows: Sequence[Sequence[int]]
) -> Iterator[Effect]:
    pairs = [(arm.arm, board.control) for arm in board.arms if arm.arm != board.control]
    pairs += [(claim.arm, claim.against) for claim in board.claims]
    for arm, against in dict.fromkeys(pairs):
        for metric in metrics:
            effect = paired_effect(arms[arm], arms[against], metric.name, rows)
            if effect is not None:
                yield effect


def _labels(design: Design, arm: str) -> list[str]:
    return [f"{arm} {replicate.name}" for replicate in design.replicates_of(arm)]


def rows_of(replicates: Sequence[Replicate]) -> list[list[int]]:
    """Positions that share a training seed are no independent replicates: they are averaged into one row."""
    rows: dict[int, list[int]] = {}
    for index, replicate in enumerate(replicates):
        rows.setdefault(replicate.train_seed, []).append(index)
    return list(rows.values())


def design_notes(design: Design, rows: Sequence[Sequence[int]]) -> Iterator[str]:
    if len(rows) < len(design.replicates):
        yield (
            f"{len(design.replicates)} replicates share {len(rows)} training seeds; "
            "those with one training seed are averaged and count as one"
        )
    recipes = design.recipes()
    made = [r for r in recipes.values() if r.synthetic is not None and r.mixture.share > 0.0]
    if not made:
        return
    corpora = [frozenset(design.replicates[i].generation_seed for i in row) for row in rows]
    if len(rows) > 1 and any(one & other for one, other in pairwise(corpora)):
        yield "replicates share generated corpora: intervals speak of these corpora, not of ones generated anew"
    if not all(recipe.good.per_replicate for recipe in made):
        yield "all synthetic text comes from one GOOD model: intervals speak of this model, not of one trained anew"


def _identical_notes(identical: Collection[frozenset[str]]) -> Iterator[str]:
    for pair in identical:
        yield f"{' and '.join(sorted(pair))}: {IDENTICAL}; no claim between them is judged"


def _metric_notes(result: ReplicateResult) -> Iterator[str]:
    units = {name: weighing(result, name).units for name in result.scores if name not in result.without_items}
    shared = [f"{name} ({u.rows} rows, {u.count} clusters)" for name, u in units.items() if not u.single]
    if shared:
        yield f"rows of one story, and mirrored copies, are one cluster: one draw of new items in {', '.join(shared)}"
    named = {name: f"{name} ({score.metric})" for name, score in result.scores.items() if score.metric != ACCURACY}
    if valued := [label for name, label in named.items() if name in units]:
        yield (
            f"no answer of {', '.join(valued)} is right or wrong: an item counts by how the score changes without it "
            "(jackknife)"
        )
    if others := [label for name, label in named.items() if name not in units]:
        yield (
            f"of {', '.join(others)} no values of single items are stored (scored by an earlier version, too few items "
            "to leave any out, or a metric that is no mean): intervals speak of new replicates and of these items; "
            "means that hold such a suite add new items of their other suites"
        )


def _component_notes(design: Design) -> Iterator[str]:
    if len(design.replicates) > 1 and crossed_block(design.replicates) is None:
        yield (
            "what training seeds and what generation seeds contribute to the spread is not estimable: no two training "
            "seeds were run with the same two generation seeds"
        )
