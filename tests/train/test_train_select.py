"""Selection rules."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablab.errors import InputError
from ablab.spec.placement import Numerics
from ablab.spec.recipe import AtStep, LastStep, LowestValidationLoss
from ablab.spec.stages import KINDS
from ablab.store.context import StageContext, silent
from ablab.train.select import choose, select


def checkpoints(*losses: float) -> list[dict[str, Any]]:
    return [{"step": 5 * (i + 1), "validation_loss_nats": loss} for i, loss in enumerate(losses)]


@given(st.lists(st.floats(0.0, 20.0), min_size=1, max_size=20), st.randoms())
def test_lowest_loss_is_chosen_and_the_earliest_of_equals(losses: list[float], shuffler: Any) -> None:
    listed = checkpoints(*losses)
    shuffler.shuffle(listed)
    chosen = choose(LowestValidationLoss().canonical(), listed)
    assert chosen["step"] == 5 * (losses.index(min(losses)) + 1)


def test_last_step_takes_the_last_checkpoint() -> None:
    assert choose(LastStep().canonical(), checkpoints(1.0, 3.0, 2.0))["step"] == 15


def test_at_step_takes_the_declared_step() -> None:
    assert choose(AtStep(step=10).canonical(), checkpoints(1.0, 3.0, 2.0))["validation_loss_nats"] == 3.0


def test_at_step_without_a_kept_checkpoint_names_those_that_are_kept() -> None:
    with pytest.raises(InputError, match=r"step=7 .* it keeps 5, 10 "):
        choose(AtStep(step=7).canonical(), checkpoints(1.0, 2.0))


def test_unknown_rule_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match="did you mean 'last-step'"):
        choose({"kind": "last-steps"}, checkpoints(1.0))


def test_stage_returns_step_loss_and_rule(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps({"checkpoints": checkpoints(2.0, 1.5, 1.75)}))
    ctx = StageContext(
        key="k",
        params={"rule": LowestValidationLoss().canonical()},
        inputs={"train": tmp_path},
        locations={},
        out=tmp_path,
        work=tmp_path,
        numerics=Numerics(),
        progress=silent,
        costs={},
    )
    assert select(ctx) == {"step": 10, "validation_loss_nats": 1.5, "rule": "lowest-validation-loss"}


def test_selecting_imports_no_torch() -> None:
    code = "import sys, ablab.train.select; print(sorted({'torch', 'deepspeed', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_result_is_pinned(tmp_path: Path) -> None:
    """A change here means: bump the revision of `select`."""
    (tmp_path / "result.json").write_text(json.dumps({"checkpoints": checkpoints(3.0, 1.5, 2.0)}))
    rule = LowestValidationLoss().canonical()
    ctx = StageContext("k", {"rule": rule}, {"train": tmp_path}, {}, tmp_path, tmp_path, Numerics(), silent, {})
    assert select(ctx) == {"step": 10, "validation_loss_nats": 1.5, "rule": "lowest-validation-loss"}
    assert KINDS["select"].revision == 1
