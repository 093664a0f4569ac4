"""Compiled layers change results within rounding, and are told apart where that matters."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ablab.errors import InputError, RunError
from ablab.models.size import COMPILING_PAYS_FLOPS
from ablab.spec.placement import Numerics
from ablab.store.context import StageContext
from ablab.train import loop
from ablab.train.compiled import telling_what_did_not_compile
from ablab.train.settings import read_settings
from ablab.train.stage import train

MakeContext = Callable[..., StageContext]
ALWAYS = Numerics(compile="always")
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")


class Stopped(Exception):
    """What ends a training from outside."""


def losses(out: Path) -> list[float]:
    return [json.loads(line)["train_loss_nats"] for line in (out / "curves.jsonl").read_text().splitlines()]


@needs_compiler
def test_a_compiled_training_has_the_losses_of_a_plain_one_and_resumes_bit_by_bit(
    make_context: MakeContext,
    trained: tuple[StageContext, dict[str, Any]],
    digest_files: Callable[..., dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, cut = make_context(numerics=ALWAYS), make_context(numerics=ALWAYS)
    train(whole)
    assert losses(whole.out) == pytest.approx(losses(trained[0].out), abs=1e-4)

    def stopping(done: int, *_: object) -> None:
        if done >= 7:
            raise Stopped

    monkeypatch.setattr(loop, "REPORT_SECONDS", 0.0)
    with pytest.raises(Stopped):
        train(replace(cut, progress=stopping))
    again = replace(cut, out=cut.out.with_name("again"), costs={})
    again.out.mkdir()
    train(again)
    assert again.costs["resumed_from_step"] == 6
    assert digest_files(again.out) == digest_files(whole.out)


def test_only_trainings_that_are_long_enough_are_compiled_unless_all_are_to_be(make_context: MakeContext) -> None:
    def compiled(compile: str, **schedule: int) -> bool:
        return read_settings(
            make_context(schedule=schedule, numerics=Numerics.model_validate({"compile": compile}))
        ).compiled

    long = {"steps": 12 * int(COMPILING_PAYS_FLOPS["cpu"] / 1e6)}
    assert [compiled(word) for word in ("never", "long", "always")] == [False, False, True]
    assert [compiled(word, **long) for word in ("never", "long", "always")] == [False, True, True]


def test_divided_weights_are_not_compiled(make_context: MakeContext) -> None:
    steps = 12 * int(COMPILING_PAYS_FLOPS["cpu"] / 1e6)
    divided = make_context(schedule={"steps": steps}, numerics=Numerics(compile="long", zero_stage=3))
    assert not read_settings(divided).compiled
    with pytest.raises(InputError, match="zero_stage=3 divides them"):
        read_settings(make_context(numerics=Numerics(compile="always", zero_stage=3)))


def test_what_does_not_compile_is_an_error_with_a_remedy() -> None:
    @torch.compile(fullgraph=True, backend="eager")
    def broken(x: torch.Tensor) -> torch.Tensor:
        torch._dynamo.graph_break()
        return x

    with (
        pytest.raises(RunError, match=r"could not be compiled(.|\n)*--numerics compile=never"),
        telling_what_did_not_compile(),
    ):
        broken(torch.zeros(1))
