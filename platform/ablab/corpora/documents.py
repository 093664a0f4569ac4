"""How text is cut into documents, and how many of them are taken.

Plain text is a sequence of lines, most of them without blank lines between them, so documents are cut from it by one
rule for every file (`documents_of`):

1. A blank line ends a document.
2. A heading line `= = = Title = = =` (an article of simple_wiki, a transcript of childes) ends a document and begins
   the next one.
3. A document ends with the line that brings it to 150 whitespace words. Lines of speech and of books are short, so
   their documents have 150 to 200 words; an article, which is mostly one line, stays whole however long it is.

Of a source that states `words`, whole documents are taken from the start while their words fit.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator
from typing import BinaryIO, NamedTuple

BLOCK_WORDS = 150

_CHUNK_BYTES = 1 << 20
_HEADING = re.compile(r"= = = .*= = =\s*")


class Document(NamedTuple):
    """One row of a corpus."""

    id: str
    source: str
    text: str


class InvalidText(Exception):
    """A file is not UTF-8; `offset` is the byte that breaks it."""

    def __init__(self, offset: int) -> None:
        self.offset = offset
        super().__init__(f"invalid UTF-8 at byte {offset}")


def text_chunks(file: BinaryIO) -> Iterator[str]:
    """Text of a binary file in chunks that end with a line, without a byte order mark. Raises InvalidText."""
    offset = 0
    while data := file.read(_CHUNK_BYTES) + file.readline():
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


class Take:
    """Takes the first documents, over several files, whose words together are at most `words`; all for None."""

    def __init__(self, words: int | None) -> None:
        self._words = words
        self._taken = 0
        self.full = False
        """The first document that does not fit has been met."""

    def __call__(self, documents: Iterable[str]) -> Generator[str]:
        for document in documents:
            self._taken += len(document.split())
            if self._words is not None and self._taken > self._words:
                self.full = True
                return
            yield document


def take(documents: Iterable[str], words: int | None) -> Generator[str]:
    """The first documents whose words together are at most `words`; all of them for None."""
    return Take(words)(documents)
