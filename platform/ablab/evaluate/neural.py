"""A transformers Llama as a `TokenScorer`. Shapes: B rows, T time, E hidden, N scored tokens, V vocabulary."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import LlamaForCausalLM

from ablab.corpora.requests import Query
from ablab.evaluate.body import Body, behind, normed
from ablab.evaluate.tree import NODES_PER_ROW, Batch, plan
from ablab.store.context import Progress, silent

LOGITS_AT_ONCE = {"cpu": 2**19, "cuda": 2**24}
"""Rows x V of one head product: 2 MiB in fp32, which stays in a core's cache, or 64 MiB."""


class NeuralScorer:
    """Forward passes of up to `rows` trees of texts (`ablab.evaluate.tree`), the largest trees last.

    The body runs in the model's precision; head and log-softmax in fp32, at the scored positions only.
    """

    def __init__(self, model: LlamaForCausalLM, rows: int, progress: Progress = silent) -> None:
        self.model = model
        self._body = Body(model)
        self._rows = rows
        self._progress = progress
        self._dtype: torch.dtype = model.lm_head.weight.dtype
        self._head_VE = behind(model.model.norm.weight, model.lm_head.weight).float()
        self.tokens = 0
        """Tokens computed so far: a beginning that texts share counts once, padding not at all."""

    @property
    def context(self) -> int:
        """Tokens of the longest text that it can score."""
        return self._body.context

    @property
    def flops(self) -> float:
        """Floating-point operations so far: two for each weight and token."""
        return 2.0 * self.tokens * int(self.model.num_parameters(exclude_embeddings=True))

    def completions(self, queries: Sequence[Query]) -> list[float]:
        """See `TokenScorer`. The order of the queries does not change a bit of their scores."""
        return [score for score, _ in self.answers(queries, greedy=False)]

    @torch.inference_mode()
    def answers(self, queries: Sequence[Query], greedy: bool = True) -> list[tuple[float, bool]]:
        """Sums as `completions`, and whether every scored token is the most probable one (False if not `greedy`)."""
        answers = [(0.0, False)] * len(queries)
        done = 0
        for batch in plan(tuple(queries), self._rows):
            for number, answer in zip(batch.queries, self._batch(batch, greedy), strict=True):
                answers[number] = answer
            done += len(batch.queries)
            self._progress(done, len(queries), "texts")
        return answers

    def _batch(self, batch: Batch, greedy: bool) -> Iterator[tuple[float, bool]]:
        """Sums of the scored log-probabilities, added exactly, so that no order of addition can break a tie."""
        tokens_BS, depths_BS, ends_BS = (self._tensor(a) for a in (batch.tokens_BS, batch.depths_BS, batch.ends_BS))
        hidden_NE = self._body(tokens_BS, depths_BS, _mask(ends_BS, self._dtype))[self._tensor(batch.behind_M)]
        self.tokens += batch.nodes
        log_probs, best = self._log_probs(hidden_NE, batch.rows_N, batch.targets_N, greedy)
        ends = np.cumsum(batch.counts).tolist()
        values, firsts = log_probs.tolist(), best.tolist()
        spans = ((end - count, end) for end, count in zip(ends, batch.counts, strict=True))
        return ((math.fsum(values[start:end]), all(firsts[start:end])) for start, end in spans)

    @torch.inference_mode()
    def stream(self, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
        """See `TokenScorer`. Blocks of `context` inputs; each begins anew, and predicts the next one's first token."""
        inputs, targets = tokens[:-1], tokens[1:]
        found: list[NDArray[np.float64]] = []
        done = 0
        for block_BT in _blocks(inputs, self.context, max(1, self._rows * NODES_PER_ROW // self.context)):
            positions_BT = torch.arange(block_BT.shape[1], device=self._body.device).expand(block_BT.shape)
            hidden_NE = self._body(self._tensor(block_BT), positions_BT, None)
            rows_N = np.arange(block_BT.size)
            found.append(self._log_probs(hidden_NE, rows_N, targets[done : done + block_BT.size], greedy=False)[0])
            done += block_BT.size
            self._progress(done, len(inputs), "tokens")
        self.tokens += len(inputs)
        return np.concatenate(found)

    def _tensor(self, array: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._body.device)

    def _log_probs(
        self, hidden_ME: Tensor, rows_N: NDArray[np.int64], targets_N: NDArray[np.int64], greedy: bool
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """log-softmax behind row rows_N[n] at targets_N[n], a bounded number of logits at a time.

        With `greedy`, also whether no other token is more probable there.
        """
        order_N = np.argsort(rows_N, kind="stable")
        rows, targets = self._tensor(rows_N[order_N]), self._tensor(targets_N[order_N])
        at_once = max(1, LOGITS_AT_ONCE[self._body.device.type] // len(self._head_VE))
        starts = range(0, len(hidden_ME), at_once)
        ends = np.searchsorted(rows_N[order_N], [start + at_once for start in starts]).tolist()
        hidden_ME = normed(hidden_ME, self._body.epsilon).float()
        found, highest, done = [], [], 0
        with _products_of(self._dtype):
            for start, end in zip(starts, ends, strict=True):
                log_probs_MV = (hidden_ME[start : start + at_once] @ self._head_VE.T).log_softmax(1)
                found.append(log_probs_MV[rows[done:end] - start, targets[done:end]])
                if greedy:
                    highest.append(log_probs_MV.amax(1)[rows[done:end] - start])
                done = end
        log_probs_N, best_N = np.empty(len(rows_N), dtype=np.float64), np.zeros(len(rows_N), dtype=np.bool_)
        log_probs_N[order_N] = torch.cat(found).double().cpu().numpy()
        if greedy:
            best_N[order_N] = (torch.cat(found) >= torch.cat(highest)).cpu().numpy()
        return log_probs_N, best_N


@contextmanager
def _products_of(dtype: torch.dtype) -> Iterator[None]:
    """fp32 matrices that hold bf16 numbers are multiplied as bf16 where a CPU can: exact products, sums in fp32."""
    settings = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = settings.fp32_precision
    settings.fp32_precision = "bf16" if dtype == torch.bfloat16 else "ieee"
    try:
        yield
    finally:
        settings.fp32_precision = before


def _mask(ends_BS: Tensor, dtype: torch.dtype) -> Tensor:
    """[B, S, S]: 0 where node i may look at node j (j is i or an ancestor of it), -inf elsewhere."""
    index_S = torch.arange(ends_BS.shape[1], device=ends_BS.device)
    sees_BSS = (index_S[:, None] >= index_S) & (index_S[:, None] < ends_BS[:, None])
    return torch.zeros_like(sees_BSS, dtype=dtype).masked_fill_(~sees_BSS, -math.inf)


def _blocks(inputs: NDArray[np.int64], context: int, rows: int) -> Iterator[NDArray[np.int64]]:
    """Batches [up to rows, context] of a stream in its order; what is left at the end is a batch of one short row."""
    whole = len(inputs) // context * context
    for start in range(0, whole, rows * context):
        yield inputs[start : min(start + rows * context, whole)].reshape(-1, context)
    if whole < len(inputs):
        yield inputs[whole:].reshape(1, -1)
