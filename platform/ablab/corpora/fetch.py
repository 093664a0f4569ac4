"""`ablab data fetch`: bring the sources that say where they come from. Repeating it goes on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from ablab.corpora.fetch_archives import fetch_babylm
from ablab.corpora.fetch_http import Progress
from ablab.corpora.fetch_hub import fetch_hub
from ablab.corpora.fetch_inventory import source_item
from ablab.corpora.hub import is_folder
from ablab.errors import RunError
from ablab.spec.corpus import BabyLMSource, HubSource, Source
from ablab.store.locks import try_lock


@dataclass(frozen=True)
class Fetched:
    """What a fetch brought of one source."""

    name: str
    files: tuple[Path, ...]
    checked: str
    """Which digests were compared with which."""


def fetch_sources(sources: Iterable[Source], data: Path, progress: Progress) -> list[Fetched]:
    """Bring every source that is not there and says where it comes from.

    Raises RunError with the address and how to go on; what was received by then is kept.
    """
    wanted: list[BabyLMSource | HubSource] = []
    for source in sources:
        if fetchable(source) and source not in wanted and source_item(source, data).state != "there":
            wanted.append(source)
    if not wanted:
        return []
    try:
        lock = try_lock(data / "downloads" / ".lock")
    except OSError as error:
        raise RunError(f"{data}: {error}", "set ABLAB_DATA to a folder that can be written") from error
    if lock is None:
        raise RunError(f"another `ablab data fetch` is at work in {data}", "wait for its end, or stop it")
    with lock:
        return [_fetch(source, data, progress) for source in wanted]


def fetchable(source: Source) -> TypeGuard[BabyLMSource | HubSource]:
    """Whether a source says where it comes from."""
    if isinstance(source, HubSource):
        return not is_folder(source)
    return isinstance(source, BabyLMSource) and bool(source.archives)


def _fetch(source: BabyLMSource | HubSource, data: Path, progress: Progress) -> Fetched:
    if isinstance(source, HubSource):
        files, checked = fetch_hub(source, data, progress)
    else:
        files, checked = fetch_babylm(source, data, progress), "SHA-256 of the archives checked against the recipe"
    return Fetched(source.name, tuple(files), checked)
