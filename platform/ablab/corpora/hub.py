"""Datasets of the Hub as they lie on disk: `<ABLAB_DATA>/hub/<organisation>--<name>/<revision>[/<config>]/`.

The folder holds `<split>.parquet` (one column `text`, a row per document; splits train, validation, test) and
`dataset.json`: `{"repo", "revision", "config", "splits": {split: {"digest", "documents", "words"}}}`. A split that the
dataset lacks is absent. `ablab data fetch` writes it; a run only reads it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from ablab.spec.corpus import HubSource

DESCRIPTION = "dataset.json"


def hub_folder(data: Path, source: HubSource) -> Path:
    """Where the splits of a source of the Hub lie. A source that is a folder itself is none of the Hub."""
    assert source.revision is not None  # checked with the recipe
    folder = data / "hub" / source.repo.replace("/", "--") / source.revision
    return folder if source.config is None else folder / source.config


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

    def hexdigest(self) -> str:
        return self._hasher.hexdigest()
