"""What the stages leave on disk: documents in parquet, token streams as flat arrays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ablab.corpora.documents import Document
from ablab.errors import RunError

ROW_GROUP = 4096  # documents held in memory at once, while writing and while reading
ROW_GROUP_CHARACTERS = 1 << 25  # fewer where they are long: a document may be a whole book

_SCHEMA = pa.schema([("id", pa.string()), ("source", pa.string()), ("text", pa.string())])


class DocumentWriter:
    """Streams documents to one parquet file; equal documents give equal bytes."""

    def __init__(self, path: Path, rows: int = ROW_GROUP) -> None:
        self.documents = 0
        self._limit = rows
        self._writer = pq.ParquetWriter(path, _SCHEMA, compression="zstd")
        self._rows: list[Document] = []
        self._characters = 0

    def write(self, document: Document) -> None:
        self._rows.append(document)
        self._characters += len(document.text)
        self.documents += 1
        if len(self._rows) == self._limit or self._characters >= ROW_GROUP_CHARACTERS:
            self._flush()

    def _flush(self) -> None:
        columns = [list(column) for column in zip(*self._rows, strict=True)]
        self._writer.write_table(pa.table(columns, schema=_SCHEMA), row_group_size=self._limit)
        self._rows, self._characters = [], 0

    def __enter__(self) -> DocumentWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None and self._rows:
            self._flush()
        self._writer.close()


def read_batches(path: Path) -> Iterator[list[Document]]:
    """The documents of one parquet file, a row group at a time."""
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            columns = file.read_row_group(group).to_pydict()
            yield [Document(*row) for row in zip(columns["id"], columns["source"], columns["text"], strict=True)]


def read_texts(path: Path, first: int = 0, every: int = 1) -> Iterator[list[str]]:
    """The texts of one parquet file, a row group at a time; of every so-many-th group, from the first one on."""
    with pq.ParquetFile(path) as file:
        for group in range(first, file.num_row_groups, every):
            yield file.read_row_group(group, columns=["text"]).column("text").to_pylist()


def read_documents(directory: Path, split: str) -> Iterator[tuple[str, str, str]]:
    """`(id, source, text)` of every document of a split of a corpus or generate directory."""
    for batch in read_batches(directory / f"{split}.parquet"):
        yield from batch


def count_documents(directory: Path, split: str) -> int:
    """Documents of a split, without reading them."""
    return int(pq.read_metadata(directory / f"{split}.parquet").num_rows)


def open_stream(directory: Path, split: str) -> NDArray[Any]:
    """The token stream of a split, memory-mapped and read-only: uint16 or uint32 [tokens].

    Raises RunError for a split that the directory does not hold or that has no tokens.
    """
    result = json.loads((directory / "result.json").read_text(encoding="utf-8"))
    if split not in result["tokens"]:
        raise RunError(
            f"token streams of {directory.name}: no split {split!r}; there are {', '.join(result['tokens'])}"
        )
    if result["tokens"][split] == 0:
        raise RunError(f"token streams of {directory.name}: the split {split!r} holds no tokens")
    return np.memmap(directory / f"{split}.bin", dtype=np.dtype(result["dtype"]).newbyteorder("<"), mode="r")
