"""Where the spread comes from, and effect sizes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ablab.analysis import ArmResults, compare, load_result, paired_effect
from ablab.analysis.components import crossed_block, two_way
from ablab.spec import Design, Replicate

Write = Callable[..., Path]
Answers = Callable[..., Any]


def seeds(*pairs: tuple[int, int]) -> list[Replicate]:
    return [Replicate(train_seed=t, generation_seed=g) for t, g in pairs]


def test_the_largest_crossed_block_is_found() -> None:
    assert crossed_block(seeds((1, 1), (2, 2), (3, 3))) is None
    assert crossed_block(seeds((1, 1), (1, 2), (2, 1))) is None
    assert crossed_block(seeds((1, 1), (2, 1), (3, 1))) is None
    assert crossed_block(seeds((1, 1), (1, 2), (2, 1), (2, 2), (3, 3))) == ((1, 2), (1, 2))
    grid = [(t, g) for t in (1, 2, 3) for g in (1, 2, 3)]
    assert crossed_block(seeds(*grid)) == ((1, 2, 3), (1, 2, 3))
    assert crossed_block(seeds(*grid[:-1])) in (((1, 2), (1, 2, 3)), ((1, 2, 3), (1, 2)))


def test_components_are_recovered_from_many_blocks() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        y = rng.normal(0, 3.0, (5, 1)) + rng.normal(0, 1.0, (1, 5)) + rng.normal(0, 0.5, (5, 5))
        found.append(np.square(two_way(y)))
    train, generation, rest = np.sqrt(np.mean(found, axis=0))
    assert (train, generation, rest) == pytest.approx((3.0, 1.0, 0.5), rel=0.12)


def test_two_way_is_exact_on_an_additive_table() -> None:
    train, generation, rest = two_way(np.array([[1.0, 3.0], [4.0, 6.0]]))
    assert train == pytest.approx(np.std([2.0, 5.0], ddof=1))
    assert generation == pytest.approx(np.std([2.5, 4.5], ddof=1))
    assert rest == pytest.approx(0.0, abs=1e-12)


def test_crossed_seeds_give_components_and_others_a_note(
    make_design: Callable[..., Design], write_result: Write, random_answers: Answers
) -> None:
    results = {
        name: [write_result(random_answers(9 * a + i)) for i in range(4)] for a, name in enumerate(("real", "mixed"))
    }
    crossed = compare(make_design([(1, 1), (1, 2), (2, 1), (2, 2)]), results)
    assert {one.metric for one in crossed.components} == {metric.name for metric in crossed.metrics}
    assert all((one.train_seeds, one.generation_seeds) == (2, 2) for one in crossed.components)
    nested = compare(make_design([(1, 1), (2, 2), (3, 3), (4, 4)]), results)
    assert nested.components == ()
    assert any("not estimable" in note for note in nested.notes)


def test_effect_sizes_by_hand(write_result: Write) -> None:
    def result(right: int) -> Any:
        return load_result(write_result({"qa_congruence": {"who": np.arange(20) < right}}))

    one, other = (ArmResults(n, tuple(result(r) for r in rs)) for n, rs in (("a", (16, 15, 17)), ("b", (10, 10, 10))))
    found = paired_effect(one, other, "qa_congruence")
    assert found is not None
    assert found.relative == pytest.approx(100 * (80 - 50) / 50)
    assert found.cohens_h == pytest.approx(2 * np.arcsin(np.sqrt(0.8)) - 2 * np.arcsin(np.sqrt(0.5)))
    assert found.replicate_sd == pytest.approx(5.0)
    assert found.hedges_g == pytest.approx(30.0 / 5.0 * (1 - 3 / (4 * 2 - 1)))
