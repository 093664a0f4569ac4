"""Steps of a decoder on a GPU as CUDA graphs: hundreds of small kernels are started by one call.

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


class StepGraphs:
    """`forward(words_B, positions_B, end)` replayed; it must read and write the same memory at every call."""

    def __init__(self, forward: Callable[[Tensor, Tensor, int], Tensor], rows: int, device: torch.device) -> None:
        self.forward, self.device = forward, device
        self.words_B = torch.zeros(rows, dtype=torch.int64, device=device)
        self.positions_B = torch.zeros(rows, dtype=torch.int64, device=device)
        self.pool = torch.cuda.graph_pool_handle()
        self.captured: dict[int, tuple[torch.cuda.CUDAGraph, Tensor]] = {}

    def step(self, words_B: Tensor, positions: list[int], end: int) -> Tensor:
        """Logits [B, V], overwritten by the next step."""
        self.words_B.copy_(words_B)
        self.positions_B.copy_(torch.tensor(positions))
        if end not in self.captured:
            self.captured[end] = self._capture(end)
        graph, logits_BV = self.captured[end]
        graph.replay()
        return logits_BV

    def _capture(self, end: int) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        """Warming up writes what the replay writes again, so it leaves no trace."""
        with torch.cuda.device(self.device):
            stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(WARM_UPS):
                    self.forward(self.words_B, self.positions_B, end)
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self.pool):
                logits_BV = self.forward(self.words_B, self.positions_B, end)
        return graph, logits_BV
