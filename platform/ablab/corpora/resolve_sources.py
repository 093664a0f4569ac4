"""Resolving one source: its files become absolute paths and digests, its share becomes words, its faults are found.

Imports no pyarrow; reading parquet, saved datasets or .zst does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ablab.corpora.filecheck import FactCache
from ablab.corpora.fingerprints import HeldOut, Sketch, merged
from ablab.corpora.formats import UnusableFile, format_of
from ablab.corpora.paths import absolute, changed, expand, no_folder
from ablab.corpora.resolve_datasets import resolve_dataset
from ablab.corpora.sources import FILES, HELD_OUT, words_of
from ablab.corpora.textcheck import Part, TextFacts, file_facts
from ablab.spec.corpus import BabyLMSource, Corpus, FileSource, HubSource, MicroworldSource, Source

StoredSource = BabyLMSource | FileSource | HubSource


@dataclass
class Found:
    """A source resolved, and what is known of it."""

    source: Source
    words: dict[str, int] = field(default_factory=dict)
    """That it gives to every split; without all of them some text of it is unusable, and a fault says so."""
    sketches: dict[str, Sketch] = field(default_factory=dict)
    """Of its documents, by split."""
    faults: list[str] = field(default_factory=list)


def resolve_source(source: Source, corpus: Corpus, data: Path, facts: FactCache) -> Found:
    """The source with absolute paths, digests and words. What is read is remembered in `facts`."""
    if isinstance(source, MicroworldSource):
        words = {"train": source.words, "validation": source.validation_words, "test": source.test_words}
        return Found(source, words)
    texts: dict[str, list[TextFacts]] = {}
    faults: list[str] = []
    resolved = _located(source, corpus.split_seed, data, facts, texts, faults)
    if any(not found for found in texts.values()) or "train" not in texts:
        return Found(source, faults=faults)
    stated, fault = _with_words(resolved, corpus)
    if fault:
        return Found(source, faults=[*faults, fault])
    words = {}
    for split in FILES:
        held = sum(part.words for part in _parts(texts, split))
        faults += _word_faults(source, stated, corpus, split, held)
        asked = words_of(stated, split)
        words[split] = held if asked is None else min(asked, held)
    sketches = {split: merged(part.sketch for part in _parts(texts, split)) for split in FILES}
    return Found(stated, words, sketches, faults)


def _located(
    source: StoredSource,
    split_seed: int,
    data: Path,
    facts: FactCache,
    texts: dict[str, list[TextFacts]],
    faults: list[str],
) -> StoredSource:
    """The source with paths and digests; puts what is known of its texts into `texts`, by declared split."""
    if isinstance(source, BabyLMSource):
        return _babylm(source, data, facts, texts, faults)
    if isinstance(source, FileSource):
        return _files(source, split_seed, data, facts, texts, faults)
    return resolve_dataset(source, split_seed, data, facts, texts, faults)


def _parts(texts: Mapping[str, Sequence[TextFacts]], split: str) -> list[Part]:
    """What goes into a split: texts of its own, or its part of the train texts."""
    if split == "train":
        return [found.parts.get("train") or found.parts[""] for found in texts["train"]]
    if split in texts:
        return [found.parts[""] for found in texts[split]]
    return [found.parts[split] for found in texts["train"] if split in found.parts]


def _with_words(source: StoredSource, corpus: Corpus) -> tuple[StoredSource, str]:
    """The source with words in place of its share, or a fault."""
    if source.share is None:
        return source, ""
    words = math.floor(source.share * (corpus.words or 0) + 0.5)
    if words < 1:
        return source, (
            f"corpus source {source.name!r}: share={source.share:g} of corpus.words={corpus.words} is no word; "
            "leave the source out or raise its share"
        )
    return source.model_copy(update={"words": words, "share": None}), ""


def _word_faults(source: StoredSource, stated: StoredSource, corpus: Corpus, split: str, held: int) -> Iterator[str]:
    """A source must hold the words that are asked of it."""
    asked = words_of(stated, split)
    where = f"corpus source {source.name!r}"
    if held == 0:
        yield f"{where}: its {split} text holds no words; give it more text" + (
            "" if isinstance(source, BabyLMSource) else " or a larger held_out_share"
        )
    elif asked is not None and asked > held and split == "train" and source.share is not None:
        yield (
            f"{where}: share={source.share:g} of corpus.words={corpus.words} is {asked} words, more than its train "
            f"text holds ({held}); lower the share or corpus.words, or give it more text"
        )
    elif asked is not None and asked > held:
        name = "words" if split == "train" else "evaluation_words"
        yield (
            f"{where}: {name}={asked} is more than its {split} text holds ({held}); use {held} or less, or null for all"
        )


def _babylm(
    source: BabyLMSource, data: Path, facts: FactCache, texts: dict[str, list[TextFacts]], faults: list[str]
) -> BabyLMSource:
    where = f"corpus source {source.name!r}"
    folder = absolute(source.path, data)
    if not folder.is_dir():
        remedy = "; run `ablab data fetch`" if source.archives else ""
        faults.append(no_folder(where, source.path, folder, data) + remedy)
        return source
    digests = {}
    for split, suffix in FILES.items():
        path = folder / suffix / f"{source.name}.{suffix}"
        texts[split] = []
        try:
            found = file_facts(facts, path, "text", "text", None)
        except OSError as error:
            remedy = "run `ablab data fetch`" if source.archives else "the BabyLM layout needs this file"
            faults.append(f"{where}: {path} cannot be read ({error.strerror}); {remedy}")
            continue
        if found.faults:
            faults += found.faults
            continue
        texts[split] = [found]
        digests[split] = found.digest
        declared = source.digests.get(split)
        if declared is not None and declared != found.digest:
            faults.append(changed(path, declared, found.digest))
    return source.model_copy(update={"path": str(folder), "digests": digests})


def _files(
    source: FileSource,
    split_seed: int,
    data: Path,
    facts: FactCache,
    texts: dict[str, list[TextFacts]],
    faults: list[str],
) -> FileSource:
    where = f"corpus source {source.name!r}"
    declared = {"train": source.train, "validation": source.validation, "test": source.test}
    lacking = tuple(split for split in HELD_OUT if not declared[split])
    held_out = HeldOut(source.held_out_share, split_seed, lacking) if lacking and source.held_out_share else None
    paths: dict[str, tuple[str, ...]] = {}
    formats: dict[str, tuple[str, ...]] = {}
    for split, patterns in declared.items():
        if not patterns:
            continue
        files, found = expand(patterns, data, f"{where}: {split}")
        faults += found
        cut = held_out if split == "train" else None
        read = [_file(path, source.text_field, cut, facts, faults) for path in files]
        texts[split] = [] if found else _complete([one[1] for one in read])
        paths[split] = tuple(str(path) for path in files)
        formats[split] = tuple(one[0] for one in read)
    digests = {split: tuple(found.digest for found in of) for split, of in texts.items()}
    faults += _declared_faults(source, paths, digests, where)
    changes: dict[str, object] = {**paths, "digests": digests, "formats": formats}
    if held_out is None:  # what cannot matter is put to its neutral value
        changes["held_out_share"] = None
    if not any(form.startswith(("jsonl", "parquet")) for of in formats.values() for form in of):
        changes["text_field"] = "text"
    return source.model_copy(update=changes)


def _file(
    path: Path, text_field: str, held_out: HeldOut | None, facts: FactCache, faults: list[str]
) -> tuple[str, TextFacts | None]:
    """Format and facts of a file; None for one that cannot be used, with a fault."""
    try:
        form = format_of(path)
        found = file_facts(facts, path, form, text_field if form.startswith(("jsonl", "parquet")) else "text", held_out)
    except UnusableFile as error:
        faults.append(f"{path}: {error}")
        return "", None
    except OSError as error:
        faults.append(f"{path} cannot be read ({error.strerror})")
        return "", None
    faults += found.faults
    return form, None if found.faults else found


def _complete(found: list[TextFacts | None]) -> list[TextFacts]:
    """The facts of all files, or of none where one cannot be used."""
    usable = [one for one in found if one is not None]
    return usable if len(usable) == len(found) else []


def _declared_faults(
    source: FileSource, paths: Mapping[str, tuple[str, ...]], digests: Mapping[str, tuple[str, ...]], where: str
) -> Iterator[str]:
    """Where the recipe declares digests, the files must be the declared ones."""
    if not source.digests or not all(digests.values()):
        return
    if source.digests.keys() != digests.keys() or any(len(source.digests[s]) != len(of) for s, of in digests.items()):
        counts = ", ".join(f"{split} {len(of)}" for split, of in source.digests.items())
        yield f"{where}: the recipe declares digests of other files ({counts}); state these files, or no digests"
        return
    for split, of in digests.items():
        for path, declared, found in zip(paths[split], source.digests[split], of, strict=True):
            if declared != found:
                yield changed(Path(path), declared, found)
