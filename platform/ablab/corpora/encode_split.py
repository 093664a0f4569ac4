"""Encoding one split of a corpus with every core of the stage: row groups in turn, one process for each core.

`python -m ablab.corpora.encode_split PARQUET TOKENIZER DTYPE NUMBER OF` is such a process: it encodes every OF-th row
group, from the NUMBER-th on, and writes it to its standard output. The stage reads the processes in turn, so the ids
stand in the order of the documents however many there are, and one that is ahead waits. One that nobody reads ends.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from ablab.corpora.encoding import DocumentEncoder
from ablab.corpora.streams import read_texts
from ablab.corpora.tokenizer import load
from ablab.errors import RunError

MANY_GROUPS = 4
"""Row groups for each process below which one process is enough: starting another takes half a second."""

_HEADER = struct.Struct("<qqq")


class Encoded(NamedTuple):
    """The ids of one row group, how many documents it holds, and how many bytes of UTF-8 their text."""

    ids: bytes
    documents: int
    size: int


def encode_split(path: Path, tokenizer: Path, dtype: np.dtype[Any], threads: int) -> Generator[Encoded]:
    """The documents of one parquet file, row group by row group."""
    groups = pq.read_metadata(path).num_row_groups
    processes = min(threads, groups // MANY_GROUPS)
    if processes < 2:
        yield from _encode(path, tokenizer, dtype, 0, 1)
        return
    with ExitStack() as stack:
        outputs = [stack.enter_context(_process(path, tokenizer, dtype, n, processes)) for n in range(processes)]
        for group in range(groups):
            yield _read(outputs[group % processes])


def _encode(path: Path, tokenizer: Path, dtype: np.dtype[Any], number: int, of: int) -> Iterator[Encoded]:
    encoder = DocumentEncoder(load(tokenizer), dtype)
    for texts in read_texts(path, number, of):
        size = sum(len(text) if text.isascii() else len(text.encode("utf-8")) for text in texts)
        yield Encoded(encoder.encode(texts), len(texts), size)


@contextmanager
def _process(path: Path, tokenizer: Path, dtype: np.dtype[Any], number: int, of: int) -> Iterator[IO[bytes]]:
    """What one process writes. It is over behind the block."""
    command = [sys.executable, "-P", "-m", __name__, str(path), str(tokenizer), dtype.str, str(number), str(of)]
    one_core = {"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env={**os.environ, **one_core}
    )
    assert process.stdout is not None
    try:
        with closing(process.stdout) as output:
            yield output
    finally:
        process.kill()
        process.wait()


def _read(output: IO[bytes]) -> Encoded:
    header = output.read(_HEADER.size)
    length, documents, size = _HEADER.unpack(header) if len(header) == _HEADER.size else (-1, 0, 0)
    ids = output.read(length) if length >= 0 else b""
    if len(ids) != length:
        raise RunError("a process that encodes documents has ended early", "see the log; the same command begins anew")
    return Encoded(ids, documents, size)


def main(path: str, tokenizer: str, dtype: str, number: str, of: str) -> None:
    """One such process."""
    output = sys.stdout.buffer
    try:
        for encoded in _encode(Path(path), Path(tokenizer), np.dtype(dtype), int(number), int(of)):
            output.write(_HEADER.pack(len(encoded.ids), encoded.documents, encoded.size))
            output.write(encoded.ids)
            output.flush()
    except BrokenPipeError:
        os._exit(1)  # nobody reads any more; closing would fail again


if __name__ == "__main__":
    main(*sys.argv[1:])
