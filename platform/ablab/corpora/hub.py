"""Datasets of the Hub as they lie on disk: `<ABLAB_DATA>/hub/<organisation>--<name>/<revision>[/<config>]/`.

The folder holds `<split>.parquet` (one column `text`, a row per document; splits train, validation, test) and
`dataset.json`: `{"repo", "revision", "config", "splits": {split: {"digest", "documents", "words"}}}`. A split that the
source takes from train (None in the recipe) is absent. A source that names splits or field in its own way has a folder
below this one, so that no text is read under a name that another source gave it.

`ablab data fetch` writes it, `dataset.json` last: a folder without it was not fetched to its end. A run only reads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

from ablab.spec.corpus import HubSource

DESCRIPTION = "dataset.json"
USUAL = ("train", "validation", "test", "text")


def is_folder(source: HubSource) -> bool:
    """Whether the source is a folder, saved by `datasets`, rather than a dataset of the Hub."""
    return source.revision is None  # a dataset of the Hub states one: checked with the recipe


def hub_folder(data: Path, source: HubSource) -> Path:
    """Where the splits of a source of the Hub lie. A source that is a folder itself is none of the Hub."""
    assert source.revision is not None  # checked with the recipe
    folder = data / "hub" / source.repo.replace("/", "--") / source.revision
    if source.config is not None:
        folder /= source.config
    named = (source.train, source.validation, source.test, source.text_field)
    return folder if named == USUAL else folder / "+".join(quote(name, safe="") if name else "-" for name in named)


class ContentDigest:
    """SHA-256 over documents: for each the length of its UTF-8 form (8 bytes, little-endian), then that form.

    Says what a split holds whatever its file format, compression and writer.
    """

    def __init__(self) -> None:
        self._hasher = hashlib.sha256()

    def add(self, text: str) -> None:
        data = text.encode("utf-8")
        self._hasher.update(len(data).to_bytes(8, "little"))
        self._hasher.update(data)

    def through(self, texts: Iterable[str]) -> Iterator[str]:
        """The texts, each added on its way."""
        for text in texts:
            self.add(text)
            yield text

    def hexdigest(self) -> str:
        return self._hasher.hexdigest()
