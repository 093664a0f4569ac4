"""Laws of the stage `curve`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow.parquet as pq
import pytest

from ablab.evaluate.curve import learning_curve
from ablab.evaluate.stage import evaluate
from ablab.store.context import StageContext

Fresh = Callable[..., StageContext]
STEPS = [2, 4]


def curve(world: Any, fresh: Fresh, **params: Any) -> StageContext:
    """Two checkpoints: at step 4 the model of `train-a`, at step 2 that of `train-b`."""
    two = world.root / "train-two" / "checkpoints"
    for step, source in zip(STEPS, ("train-b", "train-a"), strict=True):
        shutil.copytree(
            world.root / source / "checkpoints" / "step-00000004", two / f"step-{step:08d}", dirs_exist_ok=True
        )
    given = {"precision": "fp32", "steps": STEPS, "suites": ["pairs", "places"], "items_per_task": None}
    return fresh(given | params, train="train-two")


def rows(ctx: StageContext) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(ctx.out / "items.parquet").to_pylist()
    return found


def test_every_point_of_a_curve_is_what_evaluating_that_checkpoint_gives(world: Any, fresh: Fresh) -> None:
    ctx = curve(world, fresh)
    result = learning_curve(ctx)
    assert result["steps"] == STEPS
    for place, (step, train) in enumerate(zip(STEPS, ("train-b", "train-a"), strict=True)):
        judged = fresh(train=train)
        suites = evaluate(judged)["suites"]
        assert {name: suite["scores"][place] for name, suite in result["suites"].items()} == {
            name: suite["score"] for name, suite in suites.items()
        }
        assert result["aggregate"][place] == pytest.approx(sum(suite["score"] for suite in suites.values()) / 2)
        wanted = [(one["item"], one["correct"]) for one in rows(judged)]
        assert [(row["item"], row["correct"]) for row in rows(ctx) if row["step"] == step] == wanted
    assert len({tuple(suite["scores"]) for suite in result["suites"].values()}) > 1


def test_a_curve_takes_the_named_suites_and_the_first_items_of_every_task(world: Any, fresh: Fresh) -> None:
    ctx = curve(world, fresh, suites=["pairs"], items_per_task=7)
    result = learning_curve(ctx)
    assert list(result["suites"]) == ["pairs"]
    assert (result["suites"]["pairs"]["group"], result["suites"]["pairs"]["chance"]) == ("linguistic", 50.0)
    items = [row["item"] for row in rows(ctx) if row["step"] == 4]
    assert items == [f"pairs/few/{i}" for i in range(5)] + [f"pairs/many/{i}" for i in range(7)]


def test_equal_inputs_give_equal_bytes_whatever_was_scored_between(world: Any, fresh: Fresh) -> None:
    first = curve(world, fresh, items_per_task=7)
    results = [json.dumps(learning_curve(first))]
    evaluate(fresh())
    second = curve(world, fresh, items_per_task=7)
    results.append(json.dumps(learning_curve(replace(second, work=first.work))))
    assert results[0] == results[1]
    assert (first.out / "items.parquet").read_bytes() == (second.out / "items.parquet").read_bytes()


def test_pinned_curve_so_that_a_change_of_results_bumps_the_revision(world: Any, fresh: Fresh) -> None:
    result = learning_curve(curve(world, fresh))
    scores = {name: [round(score, 2) for score in suite["scores"]] for name, suite in result["suites"].items()}
    assert scores == {"pairs": [78.33, 75.0], "places": [36.67, 36.67]}
