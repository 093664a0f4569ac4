"""`--find-micro-batch`: a step of every shape of training is really tried, in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from gc_helper import design, plan_of

from ablab.errors import RunError
from ablab.runner.fitting import fitting_micro_batches
from ablab.spec.placement import Numerics
from ablab.store import Store


def test_trainings_of_one_shape_are_tried_once_and_all_blocks_of_a_tiny_step_fit(tmp_path: Path) -> None:
    plan = plan_of(Store(tmp_path), design(42, 43))
    trainings = [planned.stage for planned in plan.todo() if planned.stage.kind == "train"]
    schedule, model = trainings[0].params["schedule"], trainings[0].params["model"]
    blocks = schedule["tokens_per_step"] // model["context"]
    found = list(fitting_micro_batches(plan, Numerics()))
    assert len(found) == 1 < len(trainings)
    assert (found[0].micro_batch, found[0].blocks) == (blocks, blocks)


def test_a_step_that_cannot_be_tried_is_an_error_with_its_cause(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no step could be tried: .*cuda:99(.|\n)*ablab doctor"):
        list(fitting_micro_batches(plan_of(Store(tmp_path), design(42)), Numerics(device="cuda:99")))
