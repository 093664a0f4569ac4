"""Arms of several ablations, versions or runs in one comparison, where they are comparable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ablab.analysis.compare import Board, design_notes, load_arms, official_suites, rows_of, tabulate
from ablab.analysis.comparison import Comparison
from ablab.errors import InputError
from ablab.spec.ablation import Design, Replicate
from ablab.spec.metrics import suite_groups

Found = dict[Replicate, Path]
"""Evaluate directories by replicate as the design declares it; position i of every arm is one pair."""


@dataclass(frozen=True)
class Source:
    """The results of one design."""

    label: str
    """'contrastive-vs-masked@2'; arms are called `label:arm`."""
    scale: str
    design: Design
    results: Mapping[str, Sequence[Path | None]]
    """Evaluate directories by arm, by replicate position."""


def compare_across(sources: Sequence[Source]) -> Comparison:
    """Every arm that has a result against the first source's control, paired where replicates have equal seeds.

    Arms of two sources that are the same computation are one arm, under the first name. Claims are not judged: each
    belongs to the family of its own ablation.

    Raises:
        InputError: sources have one label or different scales, one has no result, or results are not comparable; with
            every reason.
    """
    _check(sources)
    arms = _distinct(sources)
    replicates = tuple(dict.fromkeys(r for source in sources for r in source.design.replicates))
    loaded, _ = load_arms({name: [found.get(r) for r in replicates] for name, found in arms.items()}, {})
    first = sources[0]
    control = _named(first, first.design.control)
    if control not in arms:
        raise InputError(f"{control}, the control, has no result, and everything is compared with it; run it first")
    notes = [note for source in sources for note in design_notes(source.design, rows_of(source.design.replicates))]
    board = Board(
        arms=tuple(loaded),
        labels={name: [f"{name} {replicate.name}" for replicate in replicates] for name in arms},
        control=control,
        replicates=replicates,
        official=official_suites(first.design),
        others={},
        notes=tuple(
            dict.fromkeys([*notes, *_joined(sources, replicates), *_pairing(arms, control), *_shared(sources, arms)])
        ),
    )
    return replace(tabulate(board, suite_groups(first.design.recipe)), missing=tuple(_missing(sources)))


def _check(sources: Sequence[Source]) -> None:
    labels = [source.label for source in sources]
    faults = [f"{label} is named twice; name each once" for label in dict.fromkeys(labels) if labels.count(label) > 1]
    first = sources[0]
    faults += [
        f"{source.label} at {source.scale} cannot be compared with {first.label} at {first.scale}: models of different "
        "scales differ in everything; compare runs of one scale"
        for source in sources[1:]
        if source.scale != first.scale
    ]
    if faults:
        raise InputError(faults)


def _named(source: Source, arm: str) -> str:
    return f"{source.label}:{arm}"


def _finished(source: Source, arm: str) -> Found:
    pairs = zip(source.design.replicates, source.results.get(arm, ()), strict=False)
    return {replicate: path for replicate, path in pairs if path is not None}


def _distinct(sources: Sequence[Source]) -> dict[str, Found]:
    """Results by arm. An arm of a later source that shares results with an earlier one's joins that."""
    arms: dict[str, Found] = {}
    for source in sources:
        earlier = dict(arms)
        for arm in source.design.arm_names():
            found = _finished(source, arm)
            same = next((name for name, known in earlier.items() if _is_one(known, found)), None)
            if same is not None:
                arms[same] = found | arms[same]
            elif found:
                arms[_named(source, arm)] = found
    return arms


def _is_one(one: Found, other: Found) -> bool:
    """True when they share replicates, and of each the result."""
    shared = one.keys() & other.keys()
    return bool(shared) and all(one[replicate] == other[replicate] for replicate in shared)


def _joined(sources: Sequence[Source], replicates: Sequence[Replicate]) -> Iterator[str]:
    """Replicates of several sources that share a training seed, which no source says of itself."""
    alone = [set(source.design.replicates) for source in sources]
    for row in rows_of(replicates):
        several = [replicates[position] for position in row]
        if not any(set(several) <= known for known in alone):
            names = ", ".join(replicate.name for replicate in several)
            yield f"{names} of several sources share training seed {several[0].train_seed}: averaged, they count as one"


def _pairing(arms: Mapping[str, Found], control: str) -> Iterator[str]:
    for name, found in arms.items():
        pairs = len(found.keys() & arms[control].keys())
        if not pairs:
            yield f"{name} has no replicate with the seeds of one of {control}, so there is no difference to show"
        elif pairs < max(len(found), len(arms[control])):
            yield (
                f"{name} ({len(found)} replicates) and {control} ({len(arms[control])}) share {pairs}: the difference "
                "is of these"
            )


def _shared(sources: Sequence[Source], arms: Mapping[str, Found]) -> Iterator[str]:
    alike = []
    for source in sources[1:]:
        for arm in source.design.arm_names():
            found = _finished(source, arm)
            name = next((n for n, known in arms.items() if found and _is_one(known, found)), None)
            if name not in (None, _named(source, arm)):
                alike.append(f"{_named(source, arm)} is {name}")
    if alike:
        yield f"the same computation is named once: {', '.join(alike)}"


def _missing(sources: Sequence[Source]) -> Iterator[str]:
    """What a source declares and has no result of."""
    for source in sources:
        for arm in source.design.arm_names():
            found = _finished(source, arm)
            lacking = [r.name for r in source.design.replicates if r not in found]
            yield from [f"{_named(source, arm)} {name}" for name in lacking] if found else [f"{_named(source, arm)}"]
