"""Suites at checkpoints of a training that goes on, for the stages (`curve`) that wait for it.

What scores them is named by `spec.stages.LOOK` and not known here. It runs in the first rank, on the weights as they
were written, and the training's own state is afterwards what it was.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from ablab.spec.stages import LOOK
from ablab.store.context import StageContext, implementation
from ablab.train.ranks import ALONE, Ranks


class Looks:
    """The looks of one training; none where no stage waits for it."""

    def __init__(self, waiting: Sequence[StageContext] = (), ranks: Ranks = ALONE) -> None:
        self._waiting, self._ranks = waiting, ranks
        self.seconds = 0.0
        """Spent on looks so far."""

    def due(self, step: int) -> bool:
        """Something is scored at this step."""
        return any(step in one.params["steps"] for one in self._waiting)

    def at(self, step: int, checkpoint: Path) -> dict[str, float]:
        """What was found (`score/<suite>` and `aggregate`, in %; on ranks behind the first nothing). A look that was
        made before, of the same weights, is not made again. Raises what keeps a suite from being scored."""
        if not self.due(step):
            return {}
        began = time.monotonic()
        found: dict[str, float] = {}
        if self._ranks.first:
            with undisturbed():
                for one in self._waiting:
                    if step in one.params["steps"]:
                        found |= implementation(LOOK)(one, step, checkpoint)
        self._ranks.barrier()
        self.seconds += time.monotonic() - began
        return found


@contextmanager
def undisturbed() -> Iterator[None]:
    """Random states and torch's threads and determinism are afterwards as before; within, torch is as a stage that
    does not train finds it."""
    python, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002 - that of the libraries
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    torch.use_deterministic_algorithms(False)
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        torch.use_deterministic_algorithms(strict)
        torch.set_num_threads(threads)
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python)
