"""What of the data of a recipe is there, and where the rest would come from. Reads no text; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ablab.corpora.fetch_archives import archive_file, babylm_file
from ablab.corpora.fetch_hub import UNFINISHED, finished_splits, hub_splits
from ablab.corpora.filecheck import FactCache
from ablab.corpora.hub import DESCRIPTION, hub_folder, is_folder
from ablab.corpora.paths import absolute, expand
from ablab.corpora.sources import FILES
from ablab.corpora.suite_lm_eval import snapshot_file
from ablab.corpora.textcheck import known_words
from ablab.settings import redact
from ablab.spec.corpus import BabyLMSource, FileSource, HubSource, MicroworldSource, Source
from ablab.spec.recipe import Recipe
from ablab.spec.suites import BabyLMSuite, LmEvalTasks, MicroworldSuites, SuiteSource

State = Literal["built in", "there", "unfinished", "missing"]
BY_HAND = "no address: to be put there by hand"


@dataclass(frozen=True)
class File:
    """One file (or pattern) of an item."""

    name: str
    """Its split, or the file name in a suite."""
    path: str
    bytes: int | None
    """None while it is not there."""
    words: int | None
    origin: str
    """URL, dataset of the Hub, or `BY_HAND`."""


@dataclass(frozen=True)
class Item:
    """A source or a suite."""

    role: Literal["source", "suite"]
    name: str
    kind: str
    path: str | None
    state: State
    """`unfinished`: a fetch began and did not end."""
    files: tuple[File, ...]

    def missing(self) -> list[File]:
        return [file for file in self.files if file.bytes is None]


def list_items(recipes: Iterable[Recipe], data: Path, facts: FactCache) -> list[Item]:
    """Every source and suite of the recipes once, in their order. facts: where plans remember counted words."""
    found: list[Item] = []
    for recipe in recipes:
        found += (source_item(source, data, facts) for source in recipe.corpus.sources)
        found += (_suite(suite, data) for suite in recipe.evaluation.suites)
    return sorted(dict.fromkeys(found), key=lambda item: item.role)  # stable: sources before suites


def source_item(source: Source, data: Path, facts: FactCache | None = None) -> Item:
    """What is there of one source."""
    if isinstance(source, MicroworldSource):
        return Item("source", source.name, source.kind, None, "built in", ())
    if isinstance(source, BabyLMSource):
        return _babylm(source, data, facts)
    return _hub(source, data) if isinstance(source, HubSource) else _files(source, data)


def _babylm(source: BabyLMSource, data: Path, facts: FactCache | None) -> Item:
    files, begun = [], False
    for split in FILES:
        path, archive = babylm_file(source, split, data), source.archives.get(split)  # type: ignore[call-overload]
        size = _bytes(path)
        words = known_words(facts, path) if facts is not None and size is not None else None
        files.append(File(split, str(path), size, words, redact(archive.url) if archive else BY_HAND))
        if archive is not None:
            begun |= part_of(archive_file(archive, data)).exists() or part_of(path).exists()
    begun |= bool(source.archives) and any(file.bytes is not None for file in files)
    return Item(
        "source", source.name, source.kind, str(absolute(source.path, data)), _state(files, begun), tuple(files)
    )


def _hub(source: HubSource, data: Path) -> Item:
    if is_folder(source):
        folder = absolute(source.repo, data)
        there = sum(one.stat().st_size for one in folder.rglob("*") if one.is_file()) if folder.is_dir() else None
        file = File("all", str(folder), there, None, BY_HAND)
        return Item("source", source.name, source.kind, str(folder), _state([file], False), (file,))
    folder = hub_folder(data, source)
    splits, ended = finished_splits(folder)
    files = []
    for split, name in hub_splits(source).items():
        path = folder / f"{split}.parquet"
        size, words = (_bytes(path), splits[split]["words"]) if split in splits else (None, None)
        files.append(File(split, str(path), size, words, f"{source.repo} {name} at {str(source.revision)[:12]}"))
    begun = any((folder / name).exists() for name in (DESCRIPTION, UNFINISHED))
    state = _state(files, begun) if ended else _unended(begun)
    return Item("source", source.name, source.kind, str(folder), state, tuple(files))


def _files(source: FileSource, data: Path) -> Item:
    files = []
    for split in FILES:
        for pattern in getattr(source, split):
            found, _ = expand([pattern], data, source.name)
            size = sum(one.stat().st_size for one in found) if found else None
            files.append(File(split, str(absolute(pattern, data)), size, None, BY_HAND))
    return Item("source", source.name, source.kind, None, _state(files, False), tuple(files))


def _suite(suite: SuiteSource, data: Path) -> Item:
    if isinstance(suite, MicroworldSuites):
        return Item("suite", ", ".join(suite.names), suite.kind, None, "built in", ())
    folder = absolute(suite.path, data)
    if isinstance(suite, LmEvalTasks):
        paths = [snapshot_file(suite, task, data) for task in suite.tasks]
        made = [File(path.stem, str(path), _bytes(path), None, f"lm-eval's task {path.stem}") for path in paths]
        return Item("suite", suite.name, suite.kind, str(folder), _state(made, False), tuple(made))
    files = [File(name, str(path), _bytes(path), None, BY_HAND) for name, path in _suite_paths(suite, folder)]
    return Item("suite", suite.name, suite.kind, str(folder), _state(files, False), tuple(files))


def _suite_paths(suite: BabyLMSuite, folder: Path) -> list[tuple[str, Path]]:
    """The files that are named, else those that are found; the path itself for a zip or where nothing is."""
    if suite.task == "ewok":
        return [(folder.name, folder)]
    names = suite.files or sorted(path.name for path in folder.glob("*") if path.is_file())
    return [(name, folder / name) for name in names] or [("all", folder)]


def _state(files: list[File], begun: bool) -> State:
    if all(file.bytes is not None for file in files):
        return "there"
    return _unended(begun)


def _unended(begun: bool) -> State:
    return "unfinished" if begun else "missing"


def part_of(path: Path) -> Path:
    """Where a file lies while it is received."""
    return path.with_name(f"{path.name}.part")


def _bytes(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
