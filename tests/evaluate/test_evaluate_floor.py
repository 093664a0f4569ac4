"""Laws of the stage `floor`."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow.parquet as pq
import pytest

from ablab.evaluate.floor import evaluate_floor
from ablab.evaluate.stage import evaluate
from ablab.store.context import StageContext

Fresh = Callable[..., StageContext]
PARAMS = {"order": 5, "test_tokens": 150}


def test_the_floor_has_the_shape_of_an_evaluation_and_no_step(fresh: Fresh) -> None:
    floor_ctx, model_ctx = fresh(PARAMS), fresh()
    floor, model = evaluate_floor(floor_ctx), evaluate(model_ctx)
    assert floor["step"] is None
    assert floor.keys() == model.keys()
    assert floor["language_modelling"].keys() == model["language_modelling"].keys()
    assert floor["language_modelling"]["tokens"] == model["language_modelling"]["tokens"]
    tables = [pq.read_table(ctx.out / "items.parquet") for ctx in (floor_ctx, model_ctx)]
    assert tables[0].schema == tables[1].schema
    assert tables[0]["item"].to_pylist() == tables[1]["item"].to_pylist()


def test_pinned_output_so_that_a_change_of_results_bumps_the_revision(fresh: Fresh) -> None:
    result = evaluate_floor(fresh(PARAMS))
    scores = {name: round(entry["score"], 2) for name, entry in result["suites"].items()}
    assert scores == {"pairs": 71.67, "places": 100.0}
    assert result["language_modelling"]["loss_nats"] == pytest.approx(0.507334471238, rel=1e-9)


def test_the_same_inputs_give_the_same_bytes(fresh: Fresh) -> None:
    first, second = fresh(PARAMS), fresh(PARAMS)
    assert evaluate_floor(first) == evaluate_floor(second)
    assert (first.out / "items.parquet").read_bytes() == (second.out / "items.parquet").read_bytes()
