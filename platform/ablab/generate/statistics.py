"""What is counted while a corpus is sampled."""

# S sequences of a shard, N new positions

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ablab.generate.shards import Shard

REPEATED_N: Final = 4
MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)


class Tally:
    """Sums over the shards of a corpus, added in their order."""

    def __init__(self, new_tokens: int) -> None:
        self.sampled_N = np.zeros(new_tokens, np.int64)
        self.head_sizes_N = np.zeros(new_tokens, np.int64)
        self.changed_N = np.zeros(new_tokens, np.int64)
        self.kl_sums_N = np.zeros(new_tokens, np.float64)
        self.kl_counts_N = np.zeros(new_tokens, np.int64)
        self.stopped = self.ngrams = self.repeated = 0

    @property
    def sampled(self) -> int:
        return int(self.sampled_N.sum())

    def add(self, shard: Shard, pad: int) -> None:
        self.sampled_N += np.asarray(shard.sampled_N)
        self.head_sizes_N += np.asarray(shard.head_sizes_N)
        self.changed_N += np.asarray(shard.changed_N)
        self.kl_sums_N += np.asarray(shard.kl_sums_N)
        self.kl_counts_N += np.asarray(shard.kl_counts_N)
        self.stopped += shard.stopped
        ngrams, repeated = repeated_ngrams(shard.words_SN, pad)
        self.ngrams += ngrams
        self.repeated += repeated

    def result(self, contrasted: bool) -> dict[str, Any]:
        """What of the corpus's result comes from the sampling."""
        return {
            "tokens": self.sampled,
            "head_size_mean": int(self.head_sizes_N.sum()) / self.sampled,
            "argmax_changed": int(self.changed_N.sum()) / self.sampled if contrasted else None,
            "kl_good_nats": float(self.kl_sums_N.sum()) / int(self.kl_counts_N.sum()),
            "repeated_4grams": self.repeated / self.ngrams if self.ngrams else 0.0,
            "stopped": self.stopped,
        }

    def write(self, path: Path, contrasted: bool) -> None:
        """By step: words sampled, mean size of the head, share of words whose favourite the contrast changed, mean KL
        from GOOD's distribution to the one drawn from; null at a step where nothing was measured."""
        steps = {
            "sampled": self.sampled_N.tolist(),
            "head_size": _means(self.head_sizes_N, self.sampled_N),
            "argmax_changed": _means(self.changed_N, self.sampled_N) if contrasted else None,
            "kl_good_nats": _means(self.kl_sums_N, self.kl_counts_N),
        }
        path.write_text(json.dumps(steps) + "\n", encoding="utf-8")


def _means(sums_N: npt.NDArray[Any], counts_N: npt.NDArray[np.int64]) -> list[float | None]:
    return [total / count if count else None for total, count in zip(sums_N.tolist(), counts_N.tolist(), strict=True)]


def repeated_ngrams(words_SN: npt.NDArray[np.int64], pad: int) -> tuple[int, int]:
    """4-grams of ids within the sequences, and how many of them occurred before in their sequence.

    Their quotient is seq-rep-4 of Welleck et al. (2020). The last words of a sequence that stopped early (`pad`) do not
    count. A 4-gram is told from another by 64 bits.
    """
    if words_SN.shape[1] < REPEATED_N:
        return 0, 0
    width = words_SN.shape[1] - REPEATED_N + 1
    hashes_SM = np.zeros((len(words_SN), width), np.uint64)
    for offset in range(REPEATED_N):
        hashes_SM = (hashes_SM ^ words_SN[:, offset : offset + width].astype(np.uint64)) * MULTIPLIER
        hashes_SM ^= hashes_SM >> np.uint64(29)
    whole_SM = words_SN[:, REPEATED_N - 1 :] != pad
    total = distinct = 0
    for hashes_M, whole_M in zip(hashes_SM, whole_SM, strict=True):
        sorted_M = np.sort(hashes_M[whole_M])
        total += len(sorted_M)
        distinct += min(len(sorted_M), 1) + int((sorted_M[1:] != sorted_M[:-1]).sum())
    return total, total - distinct


class Compression:
    """Bytes of texts, and of their zlib stream (level 6, window 32 KiB): how much a corpus repeats itself."""

    def __init__(self) -> None:
        self.bytes, self._compressed = 0, 0
        self._stream = zlib.compressobj(6)

    def add(self, text: str) -> None:
        content = text.encode() + b"\n"
        self.bytes += len(content)
        self._compressed += len(self._stream.compress(content))

    def ratio(self) -> float | None:
        """Bytes over compressed bytes; None without text. Nothing may be added behind it."""
        self._compressed += len(self._stream.flush())
        return self.bytes / self._compressed if self.bytes else None
