"""Decoding one shard: a fixed set of consecutive sequences, always with the decoder's full number of rows.

Where sequences stop at the end of their text, a shard has several times as many sequences as rows, and a row whose
sequence has ended begins the next one at once (continuous batching). All of it happens inside a shard and follows
from the shard alone, so neither workers nor interruptions can change which sequences stood side by side.
"""

# B rows, Q sequences of a shard, N new positions, S prompt positions, V vocabulary

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ablab.generate.decoder import Decoder, step_models
from ablab.generate.decoding import draw
from ablab.generate.draws import uniforms
from ablab.generate.rows import Rows
from ablab.generate.shards import Shard
from ablab.generate.text import Vocabulary
from ablab.generate.trace import Trace
from ablab.spec.synthetic import Decoding

REFILLS = 4
"""Sequences of a shard per row where they stop early: the last ones of a shard have nobody behind them."""
KL_EVERY = 16
"""At every so many steps KL is measured, which needs a pass over the vocabulary."""


def sequences_per_row(decoding: Decoding) -> int:
    """Of a whole shard."""
    return REFILLS if decoding.stop_at_eos else 1


@dataclass(frozen=True)
class Sampler:
    """What every shard of one corpus is sampled with."""

    good: Decoder
    bad: Decoder | None
    """None exactly when `decoding.strength` is 0."""
    decoding: Decoding
    prompts_PS: npt.NDArray[np.int64]
    """Sequence s continues prompt s mod P."""
    new_tokens: int
    seed: int
    vocabulary: Vocabulary

    @property
    def models(self) -> dict[str, Decoder]:
        return {"GOOD": self.good} if self.bad is None else {"GOOD": self.good, "BAD": self.bad}

    @property
    def shard_size(self) -> int:
        """Sequences of a whole shard."""
        return self.good.rows * sequences_per_row(self.decoding)

    @torch.inference_mode()
    def shard(self, index: int, sequences: int, progress: Callable[[int], None]) -> Shard:
        """Sequences index x shard_size up to shard_size more, of which the first `sequences` are wanted.

        The others are what a larger corpus would hold: they are decoded beside the wanted ones, as long as these last.
        `progress` is called with the tokens of this shard that are done. Raises `RunError` on logits that are not
        finite.
        """
        numbers_Q = np.arange(index * self.shard_size, (index + 1) * self.shard_size)
        draws_QN = torch.from_numpy(uniforms(self.seed, numbers_Q[:, None], np.arange(self.new_tokens)))
        rows = Rows(self.models, numbers_Q, self.prompts_PS, draws_QN)
        device = self.good.device
        trace = Trace(self.shard_size, self.new_tokens, self.vocabulary.pad, device)
        barred = torch.tensor(self.vocabulary.barred(self.good.shape.vocab_size), device=device)
        wanted, tick = sequences, 0
        while wanted:
            good_BV, bad_BV = step_models(self.good, self.bad, rows.words_B)
            good_BV.index_fill_(-1, barred, -math.inf)
            places = rows.places()
            drawn = draw(good_BV, bad_BV, self.decoding, rows.uniforms_QN[places], tick % KL_EVERY == 0)
            trace.add(places, drawn)
            ended = self._ended(rows, drawn.words_B)
            wanted -= sum(rows.sequences[row] < sequences for row in ended)
            rows.take(drawn.words_B, ended)
            tick += 1
            progress(self.new_tokens * (sequences - wanted) + rows.steps_below(sequences))
        end = self.vocabulary.end if self.decoding.stop_at_eos else None
        return trace.shard(index, int(numbers_Q[0]), sequences, end)

    def _ended(self, rows: Rows, words_B: Tensor) -> list[int]:
        """Rows whose sequence is whole with these words."""
        words = words_B.tolist() if self.decoding.stop_at_eos else [None] * self.good.rows
        return [
            row
            for row, (word, step, sequence) in enumerate(zip(words, rows.steps, rows.sequences, strict=True))
            if sequence < rows.count and (word == self.vocabulary.end or step + 1 == self.new_tokens)
        ]
