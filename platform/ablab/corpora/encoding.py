"""Encoding documents fast: a text has few different words, so each is encoded once.

A text is cut into units in front of white space that follows a visible character, and the ids of every unit are
remembered. The ids of a text are those of its units in a row, because nothing that the tokenizer does looks across such
a cut: NFKC composes nothing with ASCII white space, no match of the pre-tokenizer (Radford et al. 2019) holds white
space behind a visible character, and BPE merges within a match. A unit whose end is not visible for certain
(categories C and Z) makes its document be encoded as a whole.

Units of ASCII are cut further, by the pre-tokenizer's own pattern, so that fewer different strings are encoded.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from ablab.corpora.tokenizer import BOS, EOS

KNOWN = 1 << 19
"""Units that are remembered at most, about 100 MB."""

_CHARACTERS = 1 << 21  # of documents that are encoded at once
_UNIT = re.compile(r"[ \t\r\n]*[^ \t\r\n]+|[ \t\r\n]+")
# ' ?\p{L}+' and the others of the byte-level pre-tokenizer, as they are in ASCII
_PIECE = re.compile(r"'(?:s|t|re|ve|m|ll|d)| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+", flags=re.ASCII)


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """What ids are stored in: uint16, or uint32 for more than 65,535 entries; little-endian."""
    return np.dtype("<u2" if vocab_size <= 0xFFFF else "<u4")


class DocumentEncoder:
    """Encodes documents with a byte-level BPE tokenizer as flat little-endian ids of `dtype`."""

    def __init__(self, tokenizer: Tokenizer, dtype: np.dtype[Any]) -> None:
        self._tokenizer = tokenizer
        self._tokenizer.encode_special_tokens = True  # one that is spelled out in a text is text
        self._dtype = dtype
        self._begin, self._end = (np.array([one], dtype).tobytes() for one in (BOS, EOS))
        self._units: dict[str, bytes | None] = {}  # None: not visible at its end
        self._pieces: dict[str, bytes] = {}

    def encode(self, texts: Sequence[str]) -> bytes:
        """Every text as `<s> ... </s>`, in a row."""
        return b"".join(chain.from_iterable(map(self._encode, _slices(texts))))

    def _encode(self, texts: Sequence[str]) -> Iterator[bytes]:
        if len(self._units) > KNOWN:
            self._units.clear()
        if len(self._pieces) > KNOWN:
            self._pieces.clear()
        cut = [_UNIT.findall(text) for text in texts]
        self._learn(set(chain.from_iterable(cut)).difference(self._units))
        ids = self._units.__getitem__
        for text, units in zip(texts, cut, strict=True):
            yield self._begin
            try:
                yield b"".join(map(ids, units))  # type: ignore[arg-type]
            except TypeError:  # a unit is None
                yield from self._ids([text])
            yield self._end

    def _learn(self, units: Iterable[str]) -> None:
        ascii_units = {unit: _PIECE.findall(unit) for unit in units if unit.isascii()}
        others = [unit for unit in units if unit not in ascii_units]
        pieces = list(set(chain.from_iterable(ascii_units.values())).difference(self._pieces))
        self._pieces.update(zip(pieces, self._ids(pieces), strict=True))
        ids = self._pieces.__getitem__
        for unit, of in ascii_units.items():
            self._units[unit] = b"".join(map(ids, of)) if " " < unit[-1] <= "~" else None
        for unit, found in zip(others, self._ids(others), strict=True):
            self._units[unit] = found if _visible(unit[-1]) and _visible(_last(unit)) else None

    def _ids(self, texts: Sequence[str]) -> Iterator[bytes]:
        """The ids of every text alone."""
        for encoding in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False):
            yield np.array(encoding.ids, self._dtype).tobytes()


def _slices(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """The texts in a row, cut where they are many characters: what is held beside them stays small."""
    first = characters = 0
    for index, text in enumerate(texts):
        if characters > _CHARACTERS:
            yield texts[first:index]
            first, characters = index, 0
        characters += len(text)
    yield texts[first:]


def _visible(character: str) -> bool:
    return unicodedata.category(character)[0] not in "CZ"


def _last(unit: str) -> str:
    return unicodedata.normalize("NFKC", unit)[-1:] or " "
