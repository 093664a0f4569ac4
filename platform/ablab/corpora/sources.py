"""Sources: how the text of a corpus is read and cut into documents.

The documents of a microworld are its stories. A file of the BabyLM layout is a sequence of lines, most of them
without blank lines between them, so documents are cut from it by one rule for every file (`documents_of`):

1. A blank line ends a document.
2. A heading line `= = = Title = = =` (an article of simple_wiki, a transcript of childes) ends a document and begins
   the next one.
3. A document ends with the line that brings it to 150 whitespace words. Lines of speech and of books are short, so
   their documents have 150 to 200 words; an article, which is mostly one line, stays whole however long it is.

Of a source that states `words`, whole documents are taken from the start while their words fit.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from ablab.corpora import microworld
from ablab.errors import RunError
from ablab.spec.corpus import BabyLMSource, MicroworldSource, Source

BLOCK_WORDS = 150
FILES = {"train": "train", "validation": "dev", "test": "test"}  # split → folder and suffix of its file

_CHUNK_BYTES = 1 << 20
_HEADING = re.compile(r"= = = .*= = =\s*")


class InvalidText(Exception):
    """A file is not UTF-8; `offset` is the byte that breaks it."""

    def __init__(self, offset: int) -> None:
        self.offset = offset
        super().__init__(f"invalid UTF-8 at byte {offset}")


def read_source(source: Source, split: str, locations: Mapping[str, Path]) -> Generator[str]:
    """The documents of one source that go into `split` ("train", "validation", "test"), in order.

    Raises RunError when a file is not the one that the recipe was resolved with.
    """
    if isinstance(source, MicroworldSource):
        words = {"train": source.words, "validation": source.validation_words, "test": source.test_words}[split]
        return take(microworld.documents(source.world_seed, words, split), words)
    return _read_babylm(source, split, locations)


def _read_babylm(source: BabyLMSource, split: str, locations: Mapping[str, Path]) -> Generator[str]:
    digest = source.digests[split]
    path = locations[digest]
    words = source.words if split == "train" else source.evaluation_words
    hasher = hashlib.sha256()
    try:
        with path.open("rb") as file:
            yield from take(documents_of(lines_of(text_chunks(file, hasher))), words)
            for chunk in iter(lambda: file.read(_CHUNK_BYTES), b""):
                hasher.update(chunk)
    except (OSError, InvalidText) as error:
        raise RunError(f"{path}: {error}", _CHANGED) from error
    if hasher.hexdigest() != digest:
        raise RunError(f"{path} changed since the run began (its SHA-256 is no longer {digest[:12]}...)", _CHANGED)


_CHANGED = "put the file back as it was, or start the run again to use it as it is"


def text_chunks(file: BinaryIO, hasher: hashlib._Hash) -> Iterator[str]:
    """Text of a binary file in chunks that end with a line, without a byte order mark.

    Every byte read goes to `hasher`. Raises InvalidText.
    """
    offset = 0
    while data := file.read(_CHUNK_BYTES) + file.readline():
        hasher.update(data)
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidText(offset + error.start) from error
        yield text.removeprefix("\ufeff") if offset == 0 else text
        offset += len(data)


def lines_of(chunks: Iterable[str]) -> Iterator[str]:
    """Lines without their end; only line feeds end one, so that the rule does not depend on rare separators."""
    for chunk in chunks:
        for line in chunk.removesuffix("\n").split("\n"):
            yield line.rstrip("\r")


def documents_of(lines: Iterable[str]) -> Iterator[str]:
    """Cut lines into documents by the rule above; a document keeps its lines, joined by line feeds."""
    block: list[str] = []
    words = 0
    for line in lines:
        count = len(line.split())
        if block and (count == 0 or words >= BLOCK_WORDS or _HEADING.fullmatch(line)):
            yield "\n".join(block)
            block, words = [], 0
        if count:
            block.append(line)
            words += count
    if block:
        yield "\n".join(block)


def take(documents: Iterable[str], words: int | None) -> Generator[str]:
    """The first documents whose words together are at most `words`; all of them for None."""
    taken = 0
    for document in documents:
        taken += len(document.split())
        if words is not None and taken > words:
            return
        yield document
