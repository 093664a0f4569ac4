"""Finished shards on disk: the unit of resuming. One file each, written under another name and renamed.

A file is the SHA-256 of the rest, then a JSON line (identity and counts), then the words. What does not verify, or
was decoded under another identity (other numerics), does not count as finished.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ablab.store.files import read_verified, write_verified
from ablab.store.locks import try_lock

SHARD_FORMAT = 3  # of the files, and of which sequences make a shard
PLACE = ("index", "words_SN")  # fields of a shard that its header does not hold


@dataclass(frozen=True)
class Shard:
    """Consecutive sequences and what was counted while they were sampled."""

    index: int
    words_SN: npt.NDArray[np.int64]
    """Sampled ids [sequences, new tokens], `<pad>` behind an early stop."""
    sampled_N: list[int]
    """Words sampled at each step: all of them, without the padding."""
    head_sizes_N: list[int]
    """Sum over the words sampled at each step of the sizes of the plausible heads."""
    changed_N: list[int]
    """Words sampled at each step where the contrast changed the most probable word."""
    kl_sums_N: list[float]
    """Nats from GOOD's distribution to the one drawn from, summed over the words of each step where it was measured."""
    kl_counts_N: list[int]
    """Words of each step where it was measured."""
    stopped: int
    """Sequences that sampled `</s>` and stopped there."""

    @property
    def sampled(self) -> int:
        return sum(self.sampled_N)


@dataclass(frozen=True)
class ShardFolder:
    """Shards of one stage under one identity; `dtype` is little-endian and holds every id."""

    folder: Path
    identity: str
    dtype: np.dtype[np.unsignedinteger]

    def write(self, shard: Shard) -> None:
        """Complete or absent, whatever happens meanwhile."""
        counts = {field.name: getattr(shard, field.name) for field in fields(Shard) if field.name not in PLACE}
        header = counts | {"identity": self.identity, "sequences": len(shard.words_SN)}
        words = shard.words_SN.astype(self.dtype).tobytes()
        write_verified(self._path(shard.index), json.dumps(header, sort_keys=True), words)

    def read(self, index: int) -> Shard | None:
        """The shard if it is there, whole and of this identity; else None."""
        if (found := read_verified(self._path(index))) is None:
            return None
        line, words = found
        header = json.loads(line)
        if header.pop("identity") != self.identity:
            return None
        sequences = header.pop("sequences")
        return Shard(
            index=index, words_SN=np.frombuffer(words, self.dtype).reshape(sequences, -1).astype(np.int64), **header
        )

    @contextmanager
    def claim(self, index: int) -> Iterator[bool]:
        """True where this process alone may write the shard until then; False while another process may."""
        path = self._path(index).with_suffix(".lock")
        lock = try_lock(path)
        if lock is None:
            yield False
            return
        with lock:
            try:
                yield True
            finally:
                path.unlink()

    def count(self) -> int:
        """How many shards are there, finished or not."""
        return sum(1 for _ in self.folder.glob("*.shard"))

    def exists(self, index: int) -> bool:
        """True when a file is there, finished or not."""
        return self._path(index).is_file()

    def _path(self, index: int) -> Path:
        return self.folder / f"{index:08d}.shard"
