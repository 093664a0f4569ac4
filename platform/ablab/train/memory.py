"""Running out of memory: told with a micro-batch that would have fitted, found by trying smaller ones."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from ablab.errors import RunError
from ablab.train.settings import TrainSettings

CPU_MESSAGE = "can't allocate memory"  # of torch's allocator on a CPU, which has no exception of its own


def is_out_of_memory(error: BaseException) -> bool:
    """Torch's allocators, of devices and of the CPU, and Python's own."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and CPU_MESSAGE in str(error)


@contextmanager
def telling_what_fits(settings: TrainSettings, attempt: Callable[[int], None] | None) -> Iterator[None]:
    """Turns running out of memory into a `RunError` that names the largest micro-batch for which `attempt` works.

    `attempt(micro_batch)` does what a step needs most memory for. The training cannot go on after it. Without it the
    next smaller micro-batch is named.
    """
    try:
        yield
        return
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        cause = str(error).splitlines()[0]
    if attempt is None:
        smaller, verb = next(micro_batches(settings, settings.micro_batch - 1), None), "might"
    else:
        smaller, verb = largest_that_fits(settings, attempt, settings.micro_batch - 1), "would"
    if smaller is not None:
        remedy = f"micro_batch={smaller} {verb} fit: --numerics micro_batch={smaller}"
    else:
        remedy = (
            "not even micro_batch=1 would fit: try --numerics activation_checkpointing=true, offload_optimizer=true, "
            "more ranks or a higher zero_stage, or a smaller model or context"
        )
    raise RunError(
        f"out of memory at micro_batch={settings.micro_batch} of model.context={settings.model.context}: {cause}",
        remedy,
    )


def largest_that_fits(settings: TrainSettings, attempt: Callable[[int], None], most: int) -> int | None:
    """The largest micro-batch up to `most` for which `attempt` works; None where none does."""
    return next((size for size in micro_batches(settings, most) if _works(attempt, size)), None)


def micro_batches(settings: TrainSettings, most: int) -> Iterator[int]:
    """The micro-batches up to `most` that divide the blocks of a rank, largest first."""
    blocks = settings.blocks_per_rank
    return (size for size in range(most, 0, -1) if blocks % size == 0)


def _works(attempt: Callable[[int], None], size: int) -> bool:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    try:
        attempt(size)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True
