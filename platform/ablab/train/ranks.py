"""The processes (ranks) that train one model together, seen from one of them. One process alone is the null object.

Every rank runs the same code on its part of each step. What decides something (a loss, a resume state) is made equal
on all of them first, so they never part ways; rank 0 alone writes files.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torch

from ablab.errors import InputError


class Ranks:
    """One process alone: nothing has to be agreed on."""

    rank = 0
    size = 1

    @property
    def first(self) -> bool:
        """This rank writes the files."""
        return self.rank == 0

    def total(self, *values: float) -> list[float]:
        """Sums over all ranks, equal to the bit on each."""
        return list(values)

    def barrier(self) -> None:
        """Wait until every rank is here."""

    def from_first(self, find: Callable[[], Any]) -> Any:
        """What `find` gives on rank 0 (JSON-like), on every rank."""
        return find()


class Group(Ranks):
    """One of several processes. The process group is initialised; `store` is the one it was initialised with."""

    def __init__(self, rank: int, size: int, store: Any, device: str) -> None:
        self.rank, self.size = rank, size
        self._store, self._device = store, device
        self._told = 0

    def total(self, *values: float) -> list[float]:
        sums = torch.tensor(values, dtype=torch.float64, device=self._device)
        torch.distributed.all_reduce(sums)
        return [float(value) for value in sums.tolist()]

    def barrier(self) -> None:
        torch.distributed.barrier()

    def from_first(self, find: Callable[[], Any]) -> Any:
        """Through the store as JSON: torch's own broadcast of objects would pickle them."""
        self._told += 1
        name = f"told/{self._told}"
        if self.first:
            self._store.set(name, json.dumps(find()))
        return json.loads(self._store.get(name))


def check_devices(device: str, ranks: int) -> None:
    """Raises `InputError` where this machine has fewer devices than the ranks need."""
    kind, _, index = device.partition(":")
    there, needed = torch.cuda.device_count(), int(index) + 1 if index else ranks
    if kind == "cuda" and there < needed:
        fewer = f"--numerics device=cuda:{there - 1}" if index else f"--numerics ranks={there}"
        raise InputError(
            f"numerics.device={device!r} with ranks={ranks} needs {needed} GPUs, and torch sees {there} here; "
            + (f"go on with {fewer}" if there else "use a machine that has them")
        )


ALONE = Ranks()
