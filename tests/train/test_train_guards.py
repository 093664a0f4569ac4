"""Guards: a loss that is not finite is told with its batch, running out of memory with what would fit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ablab.errors import RunError
from ablab.spec.placement import Numerics
from ablab.store.context import StageContext
from ablab.train.data import Batches
from ablab.train.engine import Engine
from ablab.train.loss import LanguageModel
from ablab.train.memory import is_out_of_memory, micro_batches, telling_what_fits
from ablab.train.settings import read_settings
from ablab.train.stage import train

MakeContext = Callable[..., StageContext]
SCRIPT = Path(__file__).parent / "several_ranks.py"


def test_a_loss_that_is_not_finite_names_step_blocks_and_last_good_checkpoint(
    make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The embedding of one token becomes infinite at step 5: the blocks that hold it are those that go wrong."""
    ctx = make_context(numerics=Numerics(micro_batch=1), vocab_size=33)  # no text holds token 32
    real_step = Batches.step

    def poisoned(self: Batches, step: int) -> Any:
        blocks = real_step(self, step)
        if step == 4:
            blocks[2, 3] = 32
        return blocks

    monkeypatch.setattr(Batches, "step", poisoned)
    real_start = torch.nn.Embedding.forward

    def embed(self: torch.nn.Embedding, tokens: torch.Tensor) -> torch.Tensor:
        found = real_start(self, tokens)
        return torch.where((tokens == 32)[..., None], torch.inf, found)

    monkeypatch.setattr(torch.nn.Embedding, "forward", embed)
    with pytest.raises(RunError) as caught:
        train(ctx)
    message = str(caught.value)
    assert "at step 5 the training loss is nan, which must be finite, first in its blocks real " in message
    assert "; the last good checkpoint is of step 3" in message
    number = int(message.partition("blocks real ")[2].partition(";")[0])
    assert 0 <= number < 43


@pytest.mark.parametrize(
    "numerics", [Numerics(), Numerics(zero_stage=2), Numerics(zero_stage=3), Numerics(offload_optimizer=True)]
)
def test_a_gradient_that_is_not_finite_ends_the_training_in_bf16(
    numerics: Numerics, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_forward = LanguageModel.forward

    def forward(self: LanguageModel, blocks: torch.Tensor) -> torch.Tensor:
        loss = real_forward(self, blocks)
        loss.register_hook(lambda gradient: gradient * torch.inf)  # type: ignore[no-untyped-call]
        return loss

    monkeypatch.setattr(LanguageModel, "forward", forward)
    with pytest.raises(RunError, match="at step 1 the gradient norm is inf, which must be finite"):
        train(make_context(precision="bf16", numerics=numerics))


def test_smaller_micro_batches_divide_the_blocks_of_a_rank(make_context: MakeContext) -> None:
    settings = read_settings(make_context(schedule={"tokens_per_step": 12 * 16}, numerics=Numerics(micro_batch=12)))
    assert list(micro_batches(settings, 11)) == [6, 4, 3, 2, 1]


@pytest.mark.parametrize(("limit", "told"), [(3, "micro_batch=2 would fit: --numerics micro_batch=2"), (0, "not even")])
def test_the_largest_micro_batch_that_works_is_named(make_context: MakeContext, limit: int, told: str) -> None:
    settings = read_settings(make_context())
    tried: list[int] = []

    def attempt(size: int) -> None:
        tried.append(size)
        if size > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore")

    with (
        pytest.raises(RunError, match=rf"out of memory at micro_batch=4 .*Tried to allocate 2 GiB\n{told}"),
        telling_what_fits(settings, attempt),
    ):
        attempt(4)
    assert tried == ([4, 2] if limit else [4, 2, 1])


def test_of_several_ranks_none_tries_what_the_others_would_have_to_take_part_in(make_context: MakeContext) -> None:
    settings = read_settings(make_context())
    with pytest.raises(RunError, match="micro_batch=2 might fit"), telling_what_fits(settings, None):
        raise MemoryError("no room")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there the model would go to a GPU")
def test_a_rank_alone_tells_deepspeed_the_gpu_of_its_device(
    make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    settings = read_settings(make_context(numerics=Numerics(device="cuda:1")))
    with pytest.raises(RunError, match="'cuda:1', but DeepSpeed works on 'cpu'"):
        Engine(settings)
    assert os.environ["LOCAL_RANK"] == "1"


def test_other_errors_are_not_taken_for_a_lack_of_memory(make_context: MakeContext) -> None:
    settings = read_settings(make_context())
    with pytest.raises(RuntimeError, match="shape"), telling_what_fits(settings, lambda _: None):
        raise RuntimeError("shape mismatch")
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(ValueError("can't allocate memory"))


def test_a_cpu_without_room_says_which_micro_batch_would_fit(make_context: MakeContext, tmp_path: Path) -> None:
    """The address space of the process is bounded, as `ulimit -v` and containers do."""
    model = {"layers": 1, "hidden": 16, "heads": 2, "ffn": 4_000, "context": 512}
    schedule = {"tokens_per_step": 512 * 64, "validation_tokens": 512}
    streams = tmp_path / "tokens"
    streams.mkdir()
    for split, size in (("train", 40_000), ("validation", 2_000)):
        (streams / f"{split}.bin").write_bytes(b"\5\0\6\0" * (size // 2))
    result = {"dtype": "uint16", "tokens": {"train": 40_000, "validation": 2_000}}
    (streams / "result.json").write_text(json.dumps(result))
    ctx = make_context(model=model, schedule=schedule, numerics=Numerics(micro_batch=64))
    entry = {"params": ctx.params, "numerics": ctx.numerics.model_dump(), "work": str(ctx.work), "out": str(ctx.out)}
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"inputs": {"tokens": str(streams)}, "trainings": [entry]}))
    code = (
        "import runpy, sys, resource, torch, deepspeed, ablab.train.stage\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 1_400_000_000,) * 2)\n"
        f"sys.argv = [{str(SCRIPT)!r}, {str(plan)!r}]\n"
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "out of memory at micro_batch=64 of model.context=512" in done.stderr
    assert "would fit: --numerics micro_batch=" in done.stderr
    fits = int(done.stderr.rpartition("micro_batch=")[2].split()[0])
    assert 1 <= fits <= 32
