"""A shard is whole or it does not count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablab.generate.shards import Shard, ShardFolder

WORDS = np.arange(12).reshape(3, 4) * 4_000


def folder(path: Path, identity: str = "one") -> ShardFolder:
    return ShardFolder(path, identity, np.dtype("<u2"))


def shard(index: int = 2) -> Shard:
    return Shard(
        index, WORDS, [3, 3, 3, 2], [10, 10, 10, 12], [1, 0, 2, 0], [0.1 + 0.2, 0, 0, 0], [3, 0, 0, 0], stopped=1
    )


def test_what_was_written_is_read(tmp_path: Path) -> None:
    folder(tmp_path).write(shard())
    read = folder(tmp_path).read(2)
    assert read is not None
    assert np.array_equal(read.words_SN, WORDS)
    assert read.words_SN.dtype == np.int64
    assert replace(read, words_SN=WORDS) == replace(shard(), words_SN=WORDS)
    assert read.sampled == 11
    assert [path.name for path in tmp_path.iterdir()] == ["00000002.shard"]


def test_an_absent_shard_and_one_of_another_identity_do_not_count(tmp_path: Path) -> None:
    assert folder(tmp_path).read(2) is None
    folder(tmp_path).write(shard())
    assert folder(tmp_path, "other").read(2) is None
    assert folder(tmp_path, "other").exists(2)


@settings(deadline=None)
@given(position=st.integers(0, 10**6), change=st.integers(1, 255), cut=st.booleans())
def test_any_damage_is_noticed(tmp_path_factory: pytest.TempPathFactory, position: int, change: int, cut: bool) -> None:
    path = tmp_path_factory.mktemp("shards")
    folder(path).write(shard())
    file = path / "00000002.shard"
    content = bytearray(file.read_bytes())
    position %= len(content)
    if cut:
        del content[position:]
    else:
        content[position] ^= change
    file.write_bytes(bytes(content))
    assert folder(path).read(2) is None
