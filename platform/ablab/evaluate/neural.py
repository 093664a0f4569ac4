"""A transformers Llama as a `TokenScorer`. Shapes: B batch, T time, D hidden, N scored tokens, V vocabulary."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import LlamaForCausalLM

from ablab.evaluate.scoring import Query
from ablab.store.context import Progress, silent

LOGITS_AT_ONCE = 2**24  # N x V of one head product: 64 MiB in fp32


class NeuralScorer:
    """Forward passes of `rows` sequences, the longest sequences last, padded on the right.

    A causal model never looks to the right, so padding needs no mask. The body runs in the model's precision;
    head and log-softmax in fp32, at the scored positions only.
    """

    def __init__(self, model: LlamaForCausalLM, rows: int, progress: Progress = silent) -> None:
        self._model = model
        self._rows = rows
        self._progress = progress
        self._head_DV = model.lm_head.weight.float().T
        self.tokens = 0
        """Tokens read so far, padding not counted."""

    @property
    def context(self) -> int:
        """Tokens of the longest text that it can score."""
        return int(self._model.config.max_position_embeddings)

    @torch.inference_mode()
    def completions(self, queries: Sequence[Query]) -> list[float]:
        """See `TokenScorer`. The order of the queries does not change a bit of their scores."""
        order = sorted(range(len(queries)), key=lambda i: _by_length(queries[i]))
        scores = [0.0] * len(queries)
        for start in range(0, len(order), self._rows):
            batch = order[start : start + self._rows]
            for index, score in zip(batch, self._batch([queries[i] for i in batch]), strict=True):
                scores[index] = score
            self._progress(start + len(batch), len(order), "texts")
        return scores

    def _batch(self, queries: Sequence[Query]) -> Iterator[float]:
        """Sums of the scored log-probabilities, added exactly, so that no order of addition can break a tie."""
        inputs_BT = np.zeros((len(queries), len(queries[-1].tokens) - 1), dtype=np.int64)
        for row, query in enumerate(queries):
            inputs_BT[row, : len(query.tokens) - 1] = query.tokens[:-1]
        counts = [len(query.tokens) - query.first for query in queries]
        rows_N = np.repeat(np.arange(len(queries)), counts)
        # the token at position i is predicted at position i - 1
        columns_N = np.concatenate([np.arange(q.first - 1, len(q.tokens) - 1) for q in queries])
        targets_N = np.concatenate([q.tokens[q.first :] for q in queries])
        hidden_BTD = self._hidden(inputs_BT)
        self.tokens += sum(len(query.tokens) - 1 for query in queries)
        log_probs = self._log_probs(hidden_BTD[rows_N, columns_N], targets_N).tolist()
        ends = np.cumsum(counts).tolist()
        return (math.fsum(log_probs[end - count : end]) for end, count in zip(ends, counts, strict=True))

    @torch.inference_mode()
    def stream(self, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
        """See `TokenScorer`. Blocks of `context` inputs; each begins anew, and predicts the next one's first token."""
        inputs, targets = tokens[:-1], tokens[1:]
        found: list[NDArray[np.float64]] = []
        done = 0
        for block_BT in _blocks(inputs, self.context, self._rows):
            hidden_BTD = self._hidden(block_BT)
            found.append(self._log_probs(hidden_BTD.flatten(0, 1), targets[done : done + block_BT.size]))
            done += block_BT.size
            self._progress(done, len(inputs), "tokens")
        self.tokens += len(inputs)
        return np.concatenate(found)

    def _hidden(self, inputs_BT: NDArray[np.int64]) -> Tensor:
        inputs = torch.from_numpy(np.ascontiguousarray(inputs_BT)).to(self._model.device)
        hidden: Tensor = self._model.model(input_ids=inputs, use_cache=False).last_hidden_state
        return hidden

    def _log_probs(self, hidden_ND: Tensor, targets_N: NDArray[np.int64]) -> NDArray[np.float64]:
        """log-softmax at the targets, a bounded number of logits at a time."""
        targets = torch.from_numpy(targets_N).to(hidden_ND.device)
        rows = max(1, LOGITS_AT_ONCE // self._head_DV.shape[1])
        found = []
        for hidden, target in zip(torch.split(hidden_ND, rows), torch.split(targets, rows), strict=True):
            logits_NV = hidden.float() @ self._head_DV
            at_target = logits_NV.gather(1, target[:, None]).squeeze(1)
            found.append(at_target - logits_NV.logsumexp(1))
        return torch.cat(found).double().cpu().numpy()


def _by_length(query: Query) -> tuple[int, tuple[int, ...], int]:
    return len(query.tokens), query.tokens, query.first


def _blocks(inputs: NDArray[np.int64], context: int, rows: int) -> Iterator[NDArray[np.int64]]:
    """Batches [up to rows, context] of a stream in its order; what is left at the end is a batch of one short row."""
    whole = len(inputs) // context * context
    for start in range(0, whole, rows * context):
        yield inputs[start : min(start + rows * context, whole)].reshape(-1, context)
    if whole < len(inputs):
        yield inputs[whole:].reshape(1, -1)
