"""Formats of corpus files: plain text, JSON lines and parquet, compressed or not, read in bounded memory.

The format follows from the name and is part of a source's identity: the same bytes are other documents under another
name. Compression is undone while reading; a digest is always of the bytes on disk.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, cast

from ablab.corpora.documents import InvalidText, documents_of, lines_of, text_chunks

ROWS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
COMPRESSIONS = {".gz": "gz", ".bz2": "bz2", ".xz": "xz", ".zst": "zst"}
OTHER = frozenset({".json", ".csv", ".tsv", ".arrow", ".feather", ".zip", ".tar", ".tgz", ".7z", ".pkl", ".pdf"})

_BUFFER = 1 << 20
_PARQUET_ROWS = 128  # decoded at once: a row may be a whole book


class UnusableFile(Exception):
    """A file cannot be read as its format asks; the message is the rest of a sentence that begins with its path."""


def format_of(path: Path) -> str:
    """'text', 'jsonl' or 'parquet', with '.gz', '.bz2', '.xz' or '.zst' behind it. Raises UnusableFile."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = COMPRESSIONS.get(suffixes[-1]) if suffixes else None
    inner = suffixes[-2:-1] if compression else suffixes[-1:]
    kind = inner[0] if inner else ""
    if kind in OTHER:
        raise UnusableFile(f"{kind} is no format of a corpus file; convert it to plain text, .jsonl or .parquet")
    if kind == ".parquet" and compression:
        raise UnusableFile(f"parquet is compressed inside; remove the .{compression} compression")
    return ROWS.get(kind, "text") + (f".{compression}" if compression else "")


class CorpusFile:
    """One file of a source, opened to be read once: `documents`, as far as they are wanted, then `sha256`.

    A row without words is no document. `documents` raises UnusableFile, and OSError where the disk fails.
    """

    def __init__(self, path: Path, form: str, text_field: str) -> None:
        self._kind, _, self._compression = form.partition(".")
        self._text_field = text_field
        self._bytes = _HashedFile(path)
        self._opened: list[BinaryIO] = []  # kept: what is above `_bytes` closes it when it goes

    def documents(self) -> Iterator[str]:
        try:
            if self._kind == "parquet":
                yield from filter(str.strip, parquet_texts(self._bytes.file, self._text_field))
                return
            self._opened.append(_uncompressed(self._bytes, self._compression))
            chunks = text_chunks(self._opened[-1])
            if self._kind == "jsonl":
                yield from _json_texts(chunks, self._text_field)
            else:
                yield from documents_of(lines_of(chunks))
        except InvalidText as error:
            where = f"{error.offset} of the uncompressed text" if self._compression else str(error.offset)
            raise UnusableFile(f"invalid UTF-8 at byte offset {where}; convert the file to UTF-8") from error
        except (EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
            raise UnusableFile(self._damaged(error)) from error
        except OSError as error:
            if error.errno is not None:  # the disk, not the content
                raise
            raise UnusableFile(self._damaged(error)) from error

    def position(self) -> int:
        """Bytes on disk that have been read."""
        return self._bytes.file.tell()

    def sha256(self) -> str:
        """Of the whole file, read to its end."""
        return self._bytes.sha256(again=self._kind == "parquet")

    def _damaged(self, error: Exception) -> str:
        what = f"{self._compression} compression" if self._compression else self._kind
        return f"the {what} is damaged ({_one_line(error)}); get the file again"

    def __enter__(self) -> CorpusFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bytes.close()


class _HashedFile(io.RawIOBase):
    """A file whose bytes are hashed as they are read in order."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("rb", buffering=0)
        self._hasher = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self.file.readinto(buffer) or 0
        self._hasher.update(memoryview(buffer)[:count])
        return count

    def sha256(self, again: bool) -> str:
        """Of the whole file. again: it was not read in order, so begin anew."""
        if again:
            self.file.seek(0)
            self._hasher = hashlib.sha256()
        buffer = bytearray(_BUFFER)
        while self.readinto(buffer):
            pass
        return self._hasher.hexdigest()

    def close(self) -> None:
        self.file.close()
        super().close()


def _uncompressed(file: _HashedFile, compression: str) -> BinaryIO:
    if compression == "zst":
        import pyarrow as pa  # here, so that planning needs pyarrow only where such a file is

        stream = pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")
        return cast(BinaryIO, io.BufferedReader(stream, _BUFFER))
    opened: dict[str, Callable[[Any], Any]] = {"gz": _gunzip, "bz2": bz2.BZ2File, "xz": lzma.LZMAFile}
    buffered = io.BufferedReader(file, _BUFFER)
    return cast(BinaryIO, opened[compression](buffered) if compression else buffered)


def _gunzip(file: Any) -> gzip.GzipFile:
    return gzip.GzipFile(fileobj=file, mode="rb")


def _json_texts(chunks: Iterable[str], text_field: str) -> Iterator[str]:
    for number, line in enumerate(lines_of(chunks), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UnusableFile(f"line {number} is not JSON ({_one_line(error)}); correct or remove it") from error
        except RecursionError as error:
            raise UnusableFile(f"line {number} is nested too deeply; correct or remove it") from error
        if not isinstance(row, dict):
            raise UnusableFile(f"line {number} is a JSON {type(row).__name__}, not an object; correct or remove it")
        if text_field not in row:
            fields = ", ".join(map(repr, list(row)[:8])) or "none"
            raise UnusableFile(f"line {number} has no field {text_field!r} (its fields: {fields}); set text_field")
        text = row[text_field]
        if not isinstance(text, str):
            raise UnusableFile(
                f"line {number}: {text_field!r} must be a string, not {text!r:.60}; correct or remove it"
            )
        if not _is_unicode(text):
            raise UnusableFile(f"line {number}: {text_field!r} holds half a surrogate pair; correct or remove it")
        if text.strip():
            yield text


def parquet_texts(file: BinaryIO | io.FileIO, column: str) -> Iterator[str]:
    """The strings of one column, also those without words. Raises UnusableFile, OSError, ValueError (damaged)."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(file, pre_buffer=False, buffer_size=_BUFFER) as opened:
        check_column(opened.schema_arrow, column)
        batches = opened.iter_batches(batch_size=_PARQUET_ROWS, columns=[column], use_threads=False)
        yield from column_texts((batch.column(0) for batch in batches), column)


def check_column(schema: Any, column: str) -> None:
    """Raises UnusableFile where a table has no such column of strings."""
    import pyarrow as pa

    if column not in schema.names:
        names = ", ".join(map(repr, schema.names[:8]))
        raise UnusableFile(f"no column {column!r} (its columns: {names}); set text_field")
    kind = schema.field(column).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        raise UnusableFile(f"column {column!r} holds {kind}, not strings; set text_field to a column of strings")


def column_texts(arrays: Iterable[Any], column: str) -> Iterator[str]:
    """The strings of an Arrow column, array by array. Raises UnusableFile with the row of a null."""
    number = 0
    for array in arrays:
        for text in array.to_pylist():
            number += 1
            if text is None:
                raise UnusableFile(f"row {number}: {column!r} is null; give it text or remove the row")
            yield text


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
