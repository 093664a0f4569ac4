"""One model in training under DeepSpeed: in process, alone or as one of several ranks.

DeepSpeed is imported inside functions only: it costs seconds, reads the environment and logs to stdout.
Shapes: B blocks, T context, V vocabulary.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib.util
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ablab.errors import RunError
from ablab.models.llama import initialise, llama_config
from ablab.train.compiled import compile_model, telling_what_did_not_compile, uncompiled
from ablab.train.config import deepspeed_config, telling_what_is_wrong
from ablab.train.loss import LanguageModel
from ablab.train.memory import telling_what_fits
from ablab.train.optimizer import adamw, learning_rate_factor
from ablab.train.ranks import ALONE, Ranks
from ablab.train.settings import TrainSettings
from ablab.train.universal import reshaped

UNWRITTEN = ("inline_container", "iostream error", "PytorchStreamWriter")  # torch says no more of a failed write
TAG = "state"  # name that DeepSpeed gives its folder inside a resume state


@dataclass(frozen=True)
class StepReport:
    """What one optimizer step did."""

    loss_nats: float
    """Mean over all predicted tokens of the step, before the update."""
    gradient_norm: float
    """Global 2-norm before clipping."""
    learning_rate: float
    applied: bool
    """False when DeepSpeed left the update out because of an overflow."""
    bad_blocks: range
    """Of the step, those of this rank's first micro-batch whose loss is not finite; empty when all are."""


class Engine:
    """A freshly initialised model, its optimizer and schedule. A context manager; leaves nothing behind."""

    def __init__(self, settings: TrainSettings, ranks: Ranks = ALONE) -> None:
        deepspeed = _deepspeed(settings.device, alone=ranks.size == 1)
        self._settings = settings
        self.ranks = ranks
        self.config = llama_config(settings.model, settings.vocab_size)
        self._model = initialise(self.config, settings.seed)
        self._module = LanguageModel(self._model, settings.schedule.document_masks)
        optimizer = adamw(self._model.named_parameters(), settings.schedule)
        self._scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, learning_rate_factor(settings.schedule))
        if settings.activation_checkpointing:
            self._model.activation_checkpointing_enable({"use_reentrant": False, "preserve_rng_state": False})
        with telling_what_is_wrong(settings):
            self._engine: Any = deepspeed.initialize(
                model=self._module,
                optimizer=optimizer,
                lr_scheduler=self._scheduler,
                config=deepspeed_config(settings),
                dist_init_required=False,
            )[0]
        if settings.compiled:
            compile_model(self._module)
        # Gradients of one rank are their own mean; ZeRO's stages do their bookkeeping there and keep it.
        self._engine.enable_backward_allreduce = settings.zero_stage > 0 or ranks.size > 1

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._engine.destroy()
        del self._engine, self._module, self._model, self._scheduler
        gc.collect()  # DeepSpeed's hooks and model refer to each other

    def step(self, blocks: NDArray[np.int64]) -> StepReport:
        """One optimizer step on blocks [B, T + 1], of which every rank takes an equal part; the loss is in fp32."""
        # Of several ranks the others wait for this one in a step, so nothing can be tried in which they take part.
        attempt = (lambda size: self.attempt(blocks[:size])) if self.ranks.size == 1 else None
        told = telling_what_fits(self._settings, attempt)
        with told, telling_what_did_not_compile():
            return self._step(blocks)

    def _step(self, blocks: NDArray[np.int64]) -> StepReport:
        settings = self._settings
        begin = self.ranks.rank * settings.blocks_per_rank
        learning_rate = float(self._scheduler.get_last_lr()[0])
        losses: list[torch.Tensor] = []
        for first in range(begin, begin + settings.blocks_per_rank, settings.micro_batch):
            if losses:
                self._engine.step()  # counts an accumulated micro-batch; updates nothing yet
            loss = self._engine(self._to_device(blocks[first : first + settings.micro_batch]))
            self._engine.backward(loss)  # divides by the number of accumulations
            losses.append(loss.detach())
        norm = self._plain_gradient_norm()
        self._engine.step()
        if norm is None:
            norm = float(self._engine.get_global_grad_norm())
        mean = self.ranks.total(float(torch.stack(losses).double().mean()))[0] / self.ranks.size
        return StepReport(mean, norm, learning_rate, bool(self._engine.was_step_applied()), self._bad(begin, losses))

    def _bad(self, begin: int, losses: list[torch.Tensor]) -> range:
        size = self._settings.micro_batch
        bad = (number for number, loss in enumerate(losses) if not bool(torch.isfinite(loss)))
        first = next(bad, None)
        return range(0) if first is None else range(begin + first * size, begin + (first + 1) * size)

    def attempt(self, blocks: NDArray[np.int64]) -> None:
        """What needs most memory, for some blocks: the model's gradients, beside the optimizer's state. The training
        cannot go on after it."""
        self._module.zero_grad(set_to_none=True)
        missing = [p for p in self._model.parameters() if not self._engine.optimizer.state]
        state = [torch.ones_like(p, dtype=torch.float32) for p in missing for _ in range(2)]  # Adam's two moments
        with uncompiled():
            self._module(self._to_device(blocks)).backward()
        del state

    def loss_sum_nats(self, blocks: NDArray[np.int64]) -> float:
        """Sum of the losses of all predicted tokens of blocks [B, T + 1], without a gradient."""
        self._module.eval()
        with torch.no_grad(), uncompiled():
            total = float(self._module(self._to_device(blocks)))
        self._module.train()
        return total

    def weights(self) -> dict[str, torch.Tensor]:
        """Every parameter in fp32 by name; in bf16 these are the optimizer's master weights. All ranks must ask."""
        if self._settings.zero_stage == 0:
            return {name: parameter.detach() for name, parameter in self._model.named_parameters()}
        from deepspeed.utils import safe_get_full_fp32_param

        return {name: safe_get_full_fp32_param(parameter) for name, parameter in self._model.named_parameters()}

    def save(self, directory: Path) -> None:
        """Write everything that continuing needs. The files are pickles: only load what you verified."""
        try:
            self._engine.save_checkpoint(str(directory), tag=TAG, save_latest=False)
        except RuntimeError as error:
            if not any(sign in str(error) for sign in UNWRITTEN):
                raise
            raise OSError(errno.ENOSPC, "a state could not be written whole: full disk?", str(directory)) from error

    def load(self, directory: Path, saved_by: int) -> None:
        """Continue from what `save` wrote in `saved_by` ranks; the caller has verified the files."""
        stage = self._settings.zero_stage
        with reshaped(directory, TAG, saved_by, stage, self.ranks, self._engine.optimizer) as (folder, universal):
            self._engine._config.load_universal_checkpoint = universal
            path, _ = self._engine.load_checkpoint(str(folder), tag=TAG)
        if path is None:
            raise RunError(f"DeepSpeed found no state in {directory}", "remove this folder to train from the beginning")

    def _to_device(self, blocks: NDArray[np.int64]) -> torch.Tensor:
        return torch.from_numpy(blocks).to(self._settings.device)

    def _plain_gradient_norm(self) -> float | None:
        """DeepSpeed reports a norm from ZeRO stage 1 on; at stage 0 the gradients are still on the parameters."""
        if self._settings.zero_stage > 0:
            return None
        gradients = [parameter.grad for parameter in self._model.parameters() if parameter.grad is not None]
        return float(torch.nn.utils.get_total_norm(gradients))


@contextlib.contextmanager
def numerics(settings: TrainSettings) -> Iterator[None]:
    """Threads and determinism of this process for the time of a training."""
    deterministic: Any = torch.utils.deterministic
    threads = torch.get_num_threads()
    strict = torch.are_deterministic_algorithms_enabled()
    fill = deterministic.fill_uninitialized_memory
    torch.set_num_threads(settings.threads)
    torch.use_deterministic_algorithms(settings.device == "cpu")
    deterministic.fill_uninitialized_memory = False  # a debugging aid that costs time
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)
        deterministic.fill_uninitialized_memory = fill


@contextlib.contextmanager
def _absent(module: str) -> Iterator[None]:
    """An optional module that takes a second to import (DeepSpeed's autotuner would) cannot be imported meanwhile."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]


def _deepspeed(device: str, *, alone: bool) -> Any:
    """The deepspeed module, ready for one rank in this process; set up once per process."""
    if importlib.util.find_spec("deepspeed") is None:
        raise RunError(
            "training needs the package deepspeed, which is not installed", "pip install 'deepspeed>=0.19.8'"
        )
    if device == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"
    if alone:  # else who started the ranks has told each its own
        os.environ["LOCAL_RANK"] = device.partition(":")[2] or "0"  # the GPU that DeepSpeed puts the model on
    with contextlib.redirect_stdout(sys.stderr), _absent("mlflow"):  # stdout belongs to the caller
        import deepspeed
        from deepspeed.accelerator import get_accelerator

    logger = logging.getLogger("DeepSpeed")
    logger.handlers.clear()  # one that writes to stdout
    logger.propagate = True
    found = get_accelerator().device_name()
    if found != device.partition(":")[0]:
        raise RunError(
            f"numerics.device={device!r}, but DeepSpeed works on {found!r} in this process", "start a new process"
        )
    # Otherwise DeepSpeed runs compilers to find out which operators it could build, and then builds one that only
    # inference uses (about a minute, needs g++).
    deepspeed.ops.__compatible_ops__ = {"deepspeed_shm_comm": False}
    if not torch.distributed.is_initialized():
        # One rank needs no port and no rendezvous: the store is in this process.
        backend = "gloo" if device == "cpu" else "nccl"
        store = torch.distributed.HashStore()  # type: ignore[attr-defined]
        torch.distributed.init_process_group(backend, store=store, rank=0, world_size=1)
    return deepspeed
