"""Formats of corpus files: each gives the same documents, and every damaged one is named with its place."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpora_helper import documents

from ablab.corpora.formats import CorpusFile, UnusableFile, format_of

ROWS = ["One short story.", "Another, in\ntwo lines \u2028 and a separator.", "Grüße, 日本, \U0001f642"]


def zstd(data: bytes) -> bytes:
    made: bytes = pa.compress(data, codec="zstd", asbytes=True)
    return made


PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd,
}


def read(path: Path, field: str = "text") -> tuple[list[str], str]:
    with CorpusFile(path, format_of(path), field) as file:
        return list(file.documents()), file.sha256()


def json_lines(rows: Sequence[object]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def parquet(path: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return path


@pytest.mark.parametrize("suffix", PACK)
def test_plain_text_is_cut_as_the_babylm_layout_is_however_it_is_compressed(tmp_path: Path, suffix: str) -> None:
    text = documents(200).encode()
    path = tmp_path / f"some.txt{suffix}"
    path.write_bytes(PACK[suffix](text))
    found, digest = read(path)
    assert found == text.decode().strip().split("\n\n")
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.ndjson", "ROWS.JSONL"])
@pytest.mark.parametrize("suffix", PACK)
def test_every_row_of_json_lines_is_a_document(tmp_path: Path, name: str, suffix: str) -> None:
    path = tmp_path / f"{name}{suffix}"
    rows = [{"text": text, "n": 1} for text in ROWS]
    path.write_bytes(
        PACK[suffix](b"\xef\xbb\xbf" + json_lines([rows[0], {"text": " \n"}]) + b"\n" + json_lines(rows[1:]))
    )
    assert read(path) == (ROWS, hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_every_row_of_parquet_is_a_document(tmp_path: Path, kind: pa.DataType) -> None:
    path = parquet(tmp_path / "some.parquet", other=[1, 2, 3, 4], story=pa.array([*ROWS, "  "]).cast(kind))
    assert read(path, "story") == (ROWS, hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.mark.parametrize("suffix", PACK)
def test_a_digest_is_of_the_whole_file_however_little_was_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"some.txt{suffix}"
    path.write_bytes(PACK[suffix](documents(3_000).encode()))
    with CorpusFile(path, format_of(path), "text") as file:
        next(iter(file.documents()))
        assert file.sha256() == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_files_that_were_compressed_in_parts_are_read_to_the_end(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"some.jsonl{suffix}"
    path.write_bytes(b"".join(PACK[suffix](json_lines([{"text": text}])) for text in ROWS))
    assert read(path)[0] == ROWS


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
@pytest.mark.parametrize("damage", ["cut", "changed", "never"])
def test_damaged_compression_is_said(tmp_path: Path, suffix: str, damage: str) -> None:
    packed = bytearray(PACK[suffix](documents(500).encode()))
    if damage == "cut":
        del packed[-20:]
    elif damage == "changed":
        packed[len(packed) // 2 : len(packed) // 2 + 8] = b"\0" * 8
    else:
        packed = bytearray(documents(5).encode())
    path = tmp_path / f"some.txt{suffix}"
    path.write_bytes(packed)
    with pytest.raises(UnusableFile, match=rf"the {suffix[1:]} compression is damaged .*; get the file again"):
        read(path)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"not json", "line 3 is not JSON"),
        (b'{"text": "cut', "line 3 is not JSON"),
        (b"[1]", "line 3 is a JSON list, not an object"),
        (b'{"txt": "a"}', r"line 3 has no field 'text' \(its fields: 'txt'\); set text_field"),
        (b"{}", r"line 3 has no field 'text' \(its fields: none\)"),
        (b'{"text": null}', "line 3: 'text' must be a string, not None"),
        (b'{"text": ["a"]}', r"line 3: 'text' must be a string, not \['a'\]"),
        (b'{"text": "\\ud800"}', "line 3: 'text' holds half a surrogate pair"),
        (b"[" * 200_000, "line 3 is n"),
    ],
)
def test_a_row_that_is_no_document_is_named_by_its_line(tmp_path: Path, line: bytes, reason: str) -> None:
    path = tmp_path / "some.jsonl"
    path.write_bytes(json_lines([{"text": "good"}]) + b"\n" + line + b"\n")
    with pytest.raises(UnusableFile, match=reason):
        read(path)


@pytest.mark.parametrize("suffix", PACK)
def test_invalid_utf8_is_named_with_its_byte_in_the_text(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"some.txt{suffix}"
    path.write_bytes(PACK[suffix](b"caf\xe9 au lait"))
    where = "3 of the uncompressed text" if suffix else "3"
    with pytest.raises(UnusableFile, match=f"invalid UTF-8 at byte offset {where};"):
        read(path)


def test_parquet_without_the_column_or_with_other_things_than_text_is_refused(tmp_path: Path) -> None:
    path = parquet(tmp_path / "some.parquet", story=["a", None, "c"], n=[1, 2, 3])
    with pytest.raises(UnusableFile, match=r"no column 'text' \(its columns: 'story', 'n'\); set text_field"):
        read(path)
    with pytest.raises(UnusableFile, match="column 'n' holds int64, not strings"):
        read(path, "n")
    with pytest.raises(UnusableFile, match="row 2: 'story' is null"):
        read(path, "story")


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-30], lambda data: b"PAR1" + data[4:40] + b"PAR1", lambda _data: b""]
)
def test_damaged_parquet_is_said(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = parquet(tmp_path / "some.parquet", text=ROWS)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UnusableFile, match=r"the parquet is damaged .*; get the file again"):
        read(path)


def test_pages_of_parquet_that_were_overwritten_are_said(tmp_path: Path) -> None:
    path = parquet(tmp_path / "some.parquet", text=[f"{i} " * 50 for i in range(500)])
    data = bytearray(path.read_bytes())
    data[100:400] = b"\xff" * 300
    path.write_bytes(data)
    with pytest.raises(UnusableFile, match="the parquet is damaged"):
        read(path)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.txt", "text"),
        ("a.train", "text"),
        ("a", "text"),
        ("a.b.txt.gz", "text.gz"),
        ("a.gz", "text.gz"),
        ("a.jsonl.zst", "jsonl.zst"),
        ("a.parquet", "parquet"),
    ],
)
def test_the_format_follows_from_the_name(name: str, form: str) -> None:
    assert format_of(Path(name)) == form


@pytest.mark.parametrize("name", ["a.json", "a.csv.gz", "a.tar.gz", "a.zip", "a.arrow"])
def test_formats_that_would_be_read_as_something_else_are_refused(name: str) -> None:
    with pytest.raises(UnusableFile, match="is no format of a corpus file; convert it"):
        format_of(Path(name))
    with pytest.raises(UnusableFile, match="parquet is compressed inside"):
        format_of(Path("a.parquet.gz"))
