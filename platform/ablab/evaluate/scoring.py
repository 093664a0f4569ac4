"""What a model must offer to be judged: log-probabilities of completions and of a token stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ablab.corpora.requests import Query


class TokenScorer(Protocol):
    """A language model over token ids; natural logarithms throughout."""

    @property
    def context(self) -> int | None:
        """Tokens of the longest text that it can score; None for no limit."""

    def completions(self, queries: Sequence[Query]) -> list[float]:
        """For every query the sum over i >= first of log p(token i | tokens before i)."""

    def stream(self, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
        """log p of every token of a stream but the first, given tokens before it: [n] -> [n - 1]."""
