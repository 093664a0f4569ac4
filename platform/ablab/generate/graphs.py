"""Steps on a GPU as CUDA graphs: hundreds of small kernels are started by one call.

A graph has fixed shapes, so there is one for every `BUCKET` positions of the cache; what lies behind a row's own
position is masked. Which graph computes a step follows from the positions alone, so a shard gives the same bytes on
the same kind of GPU. (What is masked is tested on a CPU; capturing needs a GPU.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

BUCKET: Final = 64
WARM_UPS: Final = 2  # before capture, for libraries that allocate when they are first called


def bucket_of(positions: list[int], length: int) -> int:
    """The end of the keys that a step reads: a multiple of `BUCKET` behind the farthest row, or the whole cache."""
    return min(-(-(max(positions) + 1) // BUCKET) * BUCKET, length)


Forward = Callable[[Tensor, Tensor, int], Tensor]
"""Logits from words, positions and the end of the keys; it reads and writes the same memory at every call."""


class StepGraphs:
    """Replays what a forward did. It holds no decoder: in a cycle the caches of one that is done would stay on the GPU
    until Python's collector comes by."""

    def __init__(self, rows: int, device: torch.device) -> None:
        self.device = device
        self.words_B = torch.zeros(rows, dtype=torch.int64, device=device)
        self.positions_B = torch.zeros(rows, dtype=torch.int64, device=device)
        self.pool = torch.cuda.graph_pool_handle()
        self.captured: dict[int, tuple[torch.cuda.CUDAGraph, Tensor]] = {}

    def step(self, forward: Forward, words_B: Tensor, positions: list[int], end: int) -> Tensor:
        """Logits [M, B, V], overwritten by the next step; `forward` is one and the same at every step."""
        self.words_B.copy_(words_B)
        self.positions_B.copy_(torch.tensor(positions))
        if end not in self.captured:
            self.captured[end] = self._capture(forward, end)
        graph, logits_MBV = self.captured[end]
        graph.replay()
        return logits_MBV

    def _capture(self, forward: Forward, end: int) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        """Warming up writes what the replay writes again, so it leaves no trace."""
        with torch.cuda.device(self.device):
            stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(WARM_UPS):
                    forward(self.words_B, self.positions_B, end)
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self.pool):
                logits_MBV = forward(self.words_B, self.positions_B, end)
        return graph, logits_MBV
