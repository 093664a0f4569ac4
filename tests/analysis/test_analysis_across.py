"""Arms of several designs in one table: paired by equal replicates, named once, refused with the reason."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ablab.analysis import compare, render
from ablab.analysis.across import Source, compare_across
from ablab.errors import InputError
from ablab.spec import Design

Results = dict[str, list[Path | None]]
SEEDS = [(1, 1), (2, 2)]


@pytest.fixture
def make_source(
    make_design: Callable[..., Design], write_result: Callable[..., Path], random_answers: Callable[..., Any]
) -> Callable[..., Source]:
    def make(label: str, first: int, seeds: Sequence[tuple[int, int]] = SEEDS, **more: Any) -> Source:
        results: Results = {
            arm: [
                write_result(random_answers(first + 10 * row + i, 0.2 * row), perplexity=20.0 + i + row, **more)
                for i in range(len(seeds))
            ]
            for row, arm in enumerate(("real", "mixed"))
        }
        return Source(label, "smoke", make_design(seeds), results)

    return make


def test_arms_of_two_designs_stand_under_their_labels_against_the_first_control(
    make_source: Callable[..., Source],
) -> None:
    one, other = make_source("shares@1", 0), make_source("masks@dev", 50)
    found = compare_across([one, other])
    assert found.control == "shares@1:real"
    assert found.arms == ("shares@1:real", "shares@1:mixed", "masks@dev:real", "masks@dev:mixed")
    assert {(e.arm, e.replicates) for e in found.effects} == {(arm, 2) for arm in found.arms[1:]}
    alone = compare(one.design, one.results)
    here, there = (
        found.effect("shares@1:mixed", "shares@1:real", "reasoning"),
        alone.effect("mixed", "real", "reasoning"),
    )
    assert here is not None
    assert there is not None
    assert (here.estimate, here.interval, here.p) == (there.estimate, there.interval, there.p)


def test_a_shared_control_is_named_once(make_source: Callable[..., Source]) -> None:
    one, other = make_source("shares@1", 0), make_source("masks@dev", 50)
    shared = Source(other.label, "smoke", other.design, {**other.results, "real": one.results["real"]})
    found = compare_across([one, shared])
    assert found.arms == ("shares@1:real", "shares@1:mixed", "masks@dev:mixed")
    assert "the same computation is named once: masks@dev:real is shares@1:real" in found.notes


def test_replicates_of_two_sources_with_one_training_seed_are_said_to_be_averaged(
    make_source: Callable[..., Source],
) -> None:
    one, other = make_source("shares@1", 0), make_source("masks@dev", 50, seeds=[(1, 7), (3, 3)])
    joined = "t1-g1, t1-g7 of several sources share training seed 1: averaged, they count as one"
    assert joined in compare_across([one, other]).notes
    apart = make_source("masks@dev", 50, seeds=[(4, 7), (3, 3)])
    assert not any("share training seed" in note for note in compare_across([one, apart]).notes)


def test_only_replicates_of_equal_seeds_are_paired(make_source: Callable[..., Source]) -> None:
    one, other = make_source("shares@1", 0), make_source("masks@dev", 50, seeds=[(2, 2), (3, 3)])
    found = compare_across([one, other])
    assert found.replicates == ("t1-g1", "t2-g2", "t3-g3")
    assert {e.replicates for e in found.effects if e.arm == "masks@dev:mixed"} == {1}
    assert any("masks@dev:mixed (2 replicates) and shares@1:real (2) share 1" in note for note in found.notes)
    apart = compare_across([one, make_source("masks@dev", 50, seeds=[(8, 8)])])
    assert {e.arm for e in apart.effects} == {"shares@1:mixed"}
    assert any("masks@dev:mixed has no replicate with the seeds" in note for note in apart.notes)


def test_what_is_missing_is_what_a_design_declares_and_has_not(make_source: Callable[..., Source]) -> None:
    one, other = make_source("shares@1", 0), make_source("masks@dev", 50, seeds=[(3, 3)])
    found = compare_across([one, other])
    assert found.missing == ("shares@1:masked", "masks@dev:masked")
    console = Console(width=100, file=io.StringIO())
    render(found, console)
    assert isinstance(console.file, io.StringIO)
    assert "masks@dev:" in console.file.getvalue()


def test_other_precision_scale_and_names_are_refused_with_the_reason(make_source: Callable[..., Source]) -> None:
    one = make_source("shares@1", 0)
    with pytest.raises(InputError, match=r"masks@dev:real t1-g1, .* cannot be compared .* precision \(bf16 and fp32\)"):
        compare_across([one, make_source("masks@dev", 50, precision="bf16")])
    other = make_source("masks@dev", 50)
    with pytest.raises(InputError, match="masks@dev at paper cannot be compared with shares@1 at smoke"):
        compare_across([one, Source("masks@dev", "paper", other.design, other.results)])
    with pytest.raises(InputError, match="shares@1 is named twice"):
        compare_across([one, one])


def test_without_its_control_nothing_is_compared(make_source: Callable[..., Source]) -> None:
    one = make_source("shares@1", 0)
    with pytest.raises(InputError, match="shares@1:real, the control, has no result"):
        compare_across([Source("shares@1", "smoke", one.design, {"mixed": one.results["mixed"]})])
