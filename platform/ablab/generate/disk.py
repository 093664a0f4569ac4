"""Whether a corpus fits on the disk, said before the first word is sampled."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from ablab.errors import RunError

TEXT_BYTES: Final = 4
"""Per token in `train.parquet`: English has 4 to 5 bytes per token, compressed (snappy) a little over half of them."""


def check_room(out: Path, work: Path, sequences: int, prompt: int, new_tokens: int, itemsize: int) -> None:
    """Raises `RunError` where the shards still missing and the stage's files are more than what is free."""
    there = sum(path.stat().st_size for path in (work / "shards").glob("*.shard"))
    shards = max(sequences * new_tokens * itemsize - there, 0)
    files = sequences * (prompt + new_tokens) * (itemsize + TEXT_BYTES)
    free = shutil.disk_usage(out).free
    if shards + files > free:
        raise RunError(
            f"the corpus needs about {_gigabytes(shards + files)} ({sequences} sequences of {prompt} + {new_tokens} "
            f"tokens), {_gigabytes(free)} are free in {out.parent}",
            "make room, put the store on another disk, or lower synthetic.tokens",
        )


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
