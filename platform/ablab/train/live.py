"""What a training tells while it goes on: one JSON line per step in its working directory, for who shows it to people.

The lines hold the values of `curves.jsonl` and speeds, and never become part of the stage. Whoever reads them
(`ablab.tracking.live`) does so in another process, so that nothing it waits for slows the training.
"""

from __future__ import annotations

import functools
import json
import resource
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from ablab.models.size import training_flops
from ablab.store.context import LIVE_FILE
from ablab.train.settings import TrainSettings

INTERVAL_S = 0.5  # at least this long between two measurements of speed, and two writes to the file


class Live:
    """Tells nobody: the null object, of ranks behind the first."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """No more is told."""

    def begin(self) -> None:
        """The first step begins."""

    def leave_out(self, seconds: float) -> None:
        """So long the training did something else (a checkpoint), which is no part of its speed."""

    def add(self, point: Mapping[str, float]) -> None:
        """A step is done."""


class LiveFile(Live):
    """Tells by the file of one training; a resumed one goes on with the same file."""

    def __init__(self, folder: Path, settings: TrainSettings) -> None:
        self._settings = settings
        self._file = (folder / LIVE_FILE).open("a+b")
        if self._file.tell():
            self._file.write(b"\n")  # a kill may have left half a line
        self.begin()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def begin(self) -> None:
        self._began, self._steps = time.monotonic(), 0

    def leave_out(self, seconds: float) -> None:
        self._began += seconds

    def add(self, point: Mapping[str, float]) -> None:
        """Speed and memory go with the steps that end an interval."""
        self._steps += 1
        seconds = time.monotonic() - self._began
        told: dict[str, Any] = {**point, "time_ms": time.time_ns() // 1_000_000}
        if seconds >= INTERVAL_S:
            told |= speed(self._settings, self._steps * self._settings.schedule.tokens_per_step / seconds)
            self.begin()
        self._file.write(json.dumps(told).encode() + b"\n")
        if seconds >= INTERVAL_S:
            self._file.flush()


def speed(settings: TrainSettings, tokens_per_second: float) -> dict[str, float]:
    """A speed with what belongs beside it: its share of what the device does in matrix products, the peak of memory."""
    flops_per_second = tokens_per_second * training_flops(settings.model, settings.vocab_size, 1)
    peak = settings.ranks * matrix_flops_per_second(settings.device, settings.precision, settings.threads)
    return {
        "tokens_per_second": tokens_per_second,
        "model_flops_utilisation": flops_per_second / peak,
        "memory_bytes": float(peak_memory_bytes(settings.device)),
    }


@functools.cache
def matrix_flops_per_second(device: str, precision: str, threads: int) -> float:
    """What this device does at its best in a large matrix product, measured once per process (0.2 s on a CPU)."""
    cuda = device.startswith("cuda")
    side = 8_192 if cuda else 1_024
    matrix = torch.ones(side, side, device=device, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    best = float("inf")
    for _ in range(4):
        began = time.perf_counter()
        matrix @ matrix
        if cuda:
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    torch.set_num_threads(before)
    return 2 * side**3 / best


def forget_peak_memory(device: str) -> None:
    """From here on the peak is that of what follows: this process may have done other work before."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    else:
        with suppress(OSError):  # only Linux has it, and not every container lets it be written
            Path("/proc/self/clear_refs").write_text("5")


def peak_memory_bytes(device: str) -> int:
    """Most memory that was used at once since `forget_peak_memory`: of the GPU by torch, else of this process. Where
    the system forgets no peak, of this process so far."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1_024
    unit = 1 if sys.platform == "darwin" else 1_024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
