"""Resolving a dataset: of the Hub, as `ablab data fetch` brought it, or saved on disk by `datasets`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from ablab.corpora.filecheck import FactCache
from ablab.corpora.fingerprints import HeldOut
from ablab.corpora.formats import UnusableFile
from ablab.corpora.hub import DESCRIPTION, hub_folder
from ablab.corpora.paths import absolute, changed
from ablab.corpora.saved import SAVED_STATE, dataset_texts, saved_files, saved_splits
from ablab.corpora.sources import HELD_OUT
from ablab.corpora.textcheck import TextFacts, dataset_facts
from ablab.spec.corpus import HubSource


def resolve_dataset(
    source: HubSource,
    split_seed: int,
    data: Path,
    facts: FactCache,
    texts: dict[str, list[TextFacts]],
    faults: list[str],
) -> HubSource:
    """The source with paths and digests; puts what is known of its splits into `texts`, faults into `faults`."""
    where = f"corpus source {source.name!r}"
    named = {"train": source.train, "validation": source.validation, "test": source.test}
    lacking = tuple(split for split in HELD_OUT if named[split] is None)
    held_out = HeldOut(source.held_out_share, split_seed, lacking) if lacking and source.held_out_share else None
    try:
        paths, digests = _saved(source, data) if source.revision is None else _fetched(source, data)
    except UnusableFile as error:
        faults.append(f"{where}: {error}")
        return source
    for split, path in paths.items():
        texts[split] = []
        try:
            cut = held_out if split == "train" else None
            found = dataset_facts(facts, path, _parts(path), partial(_texts, path, source), source.text_field, cut)
        except UnusableFile as error:
            faults.append(f"{path}: {error}")
            continue
        except OSError as error:
            remedy = _AGAIN if source.revision else "save the dataset again"
            faults.append(f"{where}: {path} cannot be read ({error.strerror}); {remedy}")
            continue
        faults += found.faults or _digest_faults(source, split, path, found.digest, digests.get(split))
        texts[split] = [] if found.faults else [found]
    changes: dict[str, Any] = {
        "paths": {split: str(path) for split, path in paths.items()},
        "digests": {split: of[0].digest for split, of in texts.items() if of},
    }
    if held_out is None:  # what cannot matter is put to its neutral value
        changes["held_out_share"] = None
    if source.revision is None:
        changes["repo"] = str(absolute(source.repo, data))
    return source.model_copy(update=changes)


_AGAIN = "run `ablab data fetch` again"


def _texts(path: Path, source: HubSource) -> Iterable[str]:
    return dataset_texts(path, source.text_field)


def _parts(path: Path) -> list[Path]:
    """The files that a split is made of."""
    return [path / SAVED_STATE, *saved_files(path)] if path.is_dir() else [path]


def _digest_faults(source: HubSource, split: str, path: Path, found: str, fetched: str | None) -> list[str]:
    if fetched is not None and fetched != found:
        what = f"{path}: its content ({found[:12]}...) is not what was fetched ({fetched[:12]}...)"
        return [f"{what}; remove it and {_AGAIN}"]
    declared = source.digests.get(split)
    return [changed(path, declared, found)] if declared is not None and declared != found else []


def _fetched(source: HubSource, data: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """Files and content digests of the splits of a dataset of the Hub."""
    folder = hub_folder(data, source)
    described = folder / DESCRIPTION
    if not described.is_file():
        raise UnusableFile(
            f"{source.repo} at {source.revision} is not under {folder}; bring it there with `ablab data fetch`"
        )
    try:
        splits = json.loads(described.read_text(encoding="utf-8"))["splits"]
        digests = {name: str(of["digest"]) for name, of in splits.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnusableFile(f"{described} is damaged ({error!r}); remove it and {_AGAIN}") from error
    wanted = {"train": source.train, "validation": source.validation, "test": source.test}
    for split, name in wanted.items():
        if name is not None and split not in digests:
            raise UnusableFile(f"{folder} has no {split} split (the dataset's {name!r}); {_AGAIN}")
    return {split: folder / f"{split}.parquet" for split, name in wanted.items() if name is not None}, digests


def _saved(source: HubSource, data: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """Folders of the splits of a saved dataset."""
    folder = absolute(source.repo, data)
    if not folder.is_dir():
        raise UnusableFile(f"repo={source.repo!r} is not a folder (looked for {folder}); give that of a saved dataset")
    try:
        there = saved_splits(folder)
    except UnusableFile as error:
        raise UnusableFile(f"{folder} {error}") from error
    if "" in there:  # a dataset without splits is all train
        there = {source.train: there[""]}
    wanted = {"train": source.train, "validation": source.validation, "test": source.test}
    missing = [f"{split}={name!r}" for split, name in wanted.items() if name is not None and name not in there]
    if missing:
        raise UnusableFile(
            f"{folder} has no split {', '.join(missing)} (its splits: {', '.join(there)}); name others, or set a "
            "held-out split to null and state held_out_share"
        )
    return {split: there[name] for split, name in wanted.items() if name is not None}, {}
