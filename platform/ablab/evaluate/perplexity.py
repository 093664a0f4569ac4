"""Loss, perplexity and bits per byte on the first tokens of a held-out stream."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ablab.corpora.streams import open_stream
from ablab.errors import RunError
from ablab.evaluate.scoring import TokenScorer

MAX_LOSS = 700.0  # nats; the exponential of 710 is no double any more


@dataclass(frozen=True)
class Stream:
    """The beginning of a split: tokens int64 [n], and the UTF-8 bytes of text that they stand for."""

    tokens: NDArray[np.int64]
    bytes: float


def read_stream(directory: Path, split: str, limit: int | None = None) -> Stream:
    """The first `limit` tokens (None: all) of `<split>.bin` in a tokens directory.

    Bytes are those of the whole split times the share that is read. Raises `RunError` if fewer than two tokens
    are there, because nothing could be predicted.
    """
    stream = open_stream(directory, split)
    tokens = stream[:limit].astype(np.int64)
    if len(tokens) < 2:
        raise RunError(
            f"the {split} split is read up to token {len(tokens)}, but at least 2 are needed to predict one",
            f"give the corpus more words in its {split} split, or let evaluation read more tokens",
        )
    result = json.loads((directory / "result.json").read_text(encoding="utf-8"))
    return Stream(tokens, result["bytes"][split] * len(tokens) / len(stream))


def language_modelling(scorer: TokenScorer, stream: Stream) -> dict[str, float | int]:
    """`loss_nats` per predicted token, its exponential, and bits per byte of text; `tokens` that were predicted.

    Every token but the stream's first is predicted, the marks `<s>` and `</s>` included; their loss is part of
    bits per byte, as in Gao et al. 2020 (The Pile, section 3.1), whose bytes are those of the text alone.
    """
    log_probs = scorer.stream(stream.tokens)
    nats = -math.fsum(log_probs)
    loss = nats / len(log_probs)
    if not loss < MAX_LOSS:
        raise RunError(
            f"the loss on the held-out stream is {loss} nats per token; its perplexity is no finite number",
            "the model has diverged; evaluate an earlier checkpoint or train with a lower learning rate",
        )
    return {
        "loss_nats": loss,
        "perplexity": math.exp(loss),
        "bits_per_byte": nats / math.log(2) / stream.bytes,
        "tokens": len(log_probs),
    }
