"""From sampled ids to documents: the tokenizer's side of generation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from ablab.errors import RunError
from ablab.generate.duplicates import Duplicates
from ablab.generate.statistics import Compression

SCHEMA = pa.schema([("id", pa.string()), ("source", pa.string()), ("text", pa.string())])
ROW_GROUP = 16_384  # documents
SPECIALS = ("<unk>", "<s>", "</s>", "<pad>")


class Vocabulary:
    """The tokenizer and its special ids. Raises `RunError` when one of the four specials is missing."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.size: int = tokenizer.get_vocab_size(with_added_tokens=True)
        known = {special: tokenizer.token_to_id(special) for special in SPECIALS}
        ids = [value for value in known.values() if value is not None]
        if len(ids) < len(SPECIALS):
            missing = ", ".join(special for special, value in known.items() if value is None)
            raise RunError(f"the tokenizer lacks {missing}", f"train one with {', '.join(SPECIALS)}")
        self.unknown, self.begin, self.end, self.pad = ids

    @classmethod
    def load(cls, folder: Path) -> Vocabulary:
        return cls(Tokenizer.from_file(str(folder / "tokenizer.json")))

    def barred(self, model_size: int) -> list[int]:
        """Ids that are never sampled: `<unk>` and `<pad>`, which are no text, and ids that no word has.

        No training text holds them, so a trained model gives them next to no probability; barring them keeps `<pad>`
        for "behind an early stop" alone.
        """
        return [self.unknown, self.pad, *range(self.size, model_size)]

    def prompts(self, texts: Sequence[str], length: int) -> npt.NDArray[np.int64]:
        """The first `length` ids, `<s>` first, of each text that has as many: [prompts, length]."""
        encoded = (encoding.ids for encoding in self.tokenizer.encode_batch_fast(list(texts)))
        long_enough = [ids[:length] for ids in encoded if len(ids) >= length]
        prompts_PS = np.asarray(long_enough, dtype=np.int64).reshape(-1, length)
        if (prompts_PS[:, 0] != self.begin).any():
            raise RunError("the tokenizer does not put <s> in front of a text", "train it with ablab's own settings")
        return prompts_PS

    def documents(self, words_ST: npt.NDArray[np.int64]) -> list[list[str]]:
        """The texts of every sequence, split at `<s>` and `</s>`, specials left out; only texts that hold a word."""
        parts: list[list[int]] = []
        owners: list[int] = []
        for row, ids in enumerate(words_ST):
            cuts = np.flatnonzero((ids == self.begin) | (ids == self.end))
            for part in np.split(ids, np.unique(np.concatenate([cuts, cuts + 1]))):
                parts.append(part.tolist())
                owners.append(row)
        found: list[list[str]] = [[] for _ in words_ST]
        for row, text in zip(owners, self.tokenizer.decode_batch(parts, skip_special_tokens=True), strict=True):
            if text.split():
                found[row].append(text)
        return found


class DocumentWriter:
    """Writes `train.parquet` row group by row group, without duplicates; counts documents and whitespace words."""

    def __init__(self, path: Path, duplicates: Duplicates) -> None:
        self.documents = 0
        self.duplicates_removed = 0
        self.words = 0
        self.compression = Compression()
        self._duplicates = duplicates
        self._writer = pq.ParquetWriter(path, SCHEMA)
        self._ids: list[str] = []
        self._texts: list[str] = []

    def add(self, sequence: int, texts: Sequence[str]) -> None:
        for part, text in enumerate(texts):
            if self._duplicates.seen(text):
                self.duplicates_removed += 1
                continue
            self._ids.append(f"{sequence}/{part}")
            self._texts.append(text)
            self.documents += 1
            self.words += len(text.split())
            self.compression.add(text)
            if len(self._ids) == ROW_GROUP:
                self._flush()

    def _flush(self) -> None:
        columns = {"id": self._ids, "source": ["synthetic"] * len(self._ids), "text": self._texts}
        self._writer.write_table(pa.table(columns, schema=SCHEMA))
        self._ids, self._texts = [], []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None and self._ids:
            self._flush()
        self._writer.close()
