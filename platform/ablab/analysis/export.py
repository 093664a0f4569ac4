"""A comparison as files: JSON for programs, CSV for tables."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ablab.analysis.comparison import Comparison, Effect, RelativeChange

Cell = str | int | float | None

SCORES = ("arm", "replicate", "metric", "value")
EFFECTS = (
    "arm",
    "against",
    "metric",
    "estimate",
    "low",
    "high",
    "p",
    "df",
    "se",
    "unit",
    "n_items",
    "n_replicates",
    "inference",
    "relative",
    "cohens_h",
    "hedges_g",
)
RELATIVE = (
    "arm",
    "against",
    "name",
    "metric",
    "baseline",
    "baseline_se",
    "change",
    "relative",
    "unstable",
    "n_replicates",
    "missing",
)
COMPONENTS = (
    "arm",
    "against",
    "metric",
    "unit",
    "train_seed",
    "generation_seed",
    "rest",
    "items",
    "n_train_seeds",
    "n_generation_seeds",
)
ORACLE = ("arm", "against", "metric", "oracle", "study_low", "study_high", "held_out", "n_steps")
STUDY = "the study's: items drawn again, bounds averaged over seeds"
CLAIMS = (
    "id",
    "verdict",
    "statement",
    "metric",
    "arm",
    "against",
    "direction",
    "margin",
    "estimate",
    "low",
    "high",
    "unit",
    "p",
    "p_holm",
    "detectable",
    "words",
)


def write_files(comparison: Comparison, folder: Path) -> tuple[Path, ...]:
    """Write comparison.json, scores, effects, relative, components, oracle and claims as CSV.

    The same comparison gives the same bytes. effects.csv has one row for every interval: the one that verdicts use,
    then the one for these very items, then the study's (`inference` names each). p and sizes belong to the first.
    relative.csv has a row for every term of a mean relative change, and one for the mean. components.csv has rows where
    seeds were crossed, oracle.csv where there are learning curves. Numbers are in full precision; what does not exist
    is an empty cell.
    """
    folder.mkdir(parents=True, exist_ok=True)
    document = folder / "comparison.json"
    document.write_text(comparison.to_json(), encoding="utf-8")
    return (
        document,
        _write(folder / "scores.csv", SCORES, score_rows(comparison)),
        _write(folder / "effects.csv", EFFECTS, (row for effect in comparison.effects for row in effect_rows(effect))),
        _write(folder / "relative.csv", RELATIVE, (row for one in comparison.relative for row in _relative(one))),
        _write(folder / "components.csv", COMPONENTS, (dataclasses.astuple(one) for one in comparison.components)),
        _write(folder / "oracle.csv", ORACLE, _oracle(comparison)),
        _write(folder / "claims.csv", CLAIMS, claim_rows(comparison)),
    )


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    return path


def score_rows(comparison: Comparison) -> Iterator[Sequence[Cell]]:
    for score in comparison.scores:
        for name, value in zip(comparison.replicates, score.values, strict=True):
            if value is not None:
                yield (score.arm, name, score.metric, value)
    for reference in comparison.references:
        for metric, value in reference.scores.items():
            yield (reference.name, None, metric, value)


def effect_rows(effect: Effect) -> Iterator[Sequence[Cell]]:
    head = (effect.arm, effect.against, effect.metric, effect.estimate)
    tail = (effect.unit, effect.items, effect.replicates)
    sizes, no_sizes = (effect.relative, effect.cohens_h, effect.hedges_g), (None, None, None)
    main = effect.interval
    if main is None:
        yield (*head, None, None, effect.p, None, None, *tail, None, *sizes)
    else:
        yield (*head, main.low, main.high, effect.p, main.df, main.se, *tail, main.inference, *sizes)
    beside = effect.these_items
    if beside is not None:
        yield (*head, beside.low, beside.high, None, beside.df, beside.se, *tail, beside.inference, *no_sizes)
    if effect.study_low is not None:
        yield (*head, effect.study_low, effect.study_high, None, None, None, *tail, STUDY, *no_sizes)


def _relative(one: RelativeChange) -> Iterator[Sequence[Cell]]:
    head, tail = (one.arm, one.against, one.name), (one.replicates, " ".join(one.missing))
    for term in one.terms:
        numbers = (term.baseline, term.baseline_se, term.change, term.relative, str(term.unstable).lower())
        yield (*head, term.metric, *numbers, *tail)
    yield (*head, "mean", None, None, one.points, one.mean, None, *tail)


def _oracle(comparison: Comparison) -> Iterator[Sequence[Cell]]:
    found = comparison.oracle
    for e in found.effects if found else ():
        yield (e.arm, e.against, e.metric, e.estimate, e.low, e.high, e.held_out, len(found.steps) if found else None)


def claim_rows(comparison: Comparison) -> Iterator[Sequence[Cell]]:
    for claim in comparison.claims:
        effect = claim.effect
        interval = effect.interval if effect else None
        yield (
            claim.id,
            claim.verdict,
            claim.statement,
            claim.metric,
            claim.arm,
            claim.against,
            claim.direction,
            claim.margin,
            effect.estimate if effect else None,
            interval.low if interval else None,
            interval.high if interval else None,
            effect.unit if effect else None,
            claim.p,
            claim.p_holm,
            effect.detectable if effect else None,
            claim.words,
        )
