"""Sources: the documents that each gives to every split, read in bounded memory and verified while they are read.

What was resolved is what is read: a file whose SHA-256, or a dataset whose content, is not the one in the recipe ends
the stage, even where its first words would have been enough.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from pathlib import Path

from ablab.corpora import microworld
from ablab.corpora.documents import Take, take
from ablab.corpora.fingerprints import HeldOut, fingerprint
from ablab.corpora.formats import CorpusFile, UnusableFile
from ablab.corpora.hub import ContentDigest
from ablab.corpora.saved import dataset_texts
from ablab.errors import RunError
from ablab.spec.corpus import BabyLMSource, FileSource, HubSource, MicroworldSource, Source

FILES = {"train": "train", "validation": "dev", "test": "test"}  # split → folder and suffix of a BabyLM file
HELD_OUT = ("validation", "test")

_CHANGED = "put the file back as it was, or start the run again to use it as it is"


def read_source(source: Source, split: str, locations: Mapping[str, Path], split_seed: int) -> Generator[str]:
    """The documents of one source that go into `split` ("train", "validation", "test"), in order.

    locations: paths by digest. split_seed: decides what is held out of train where a source has no text for it.
    Raises RunError when a file is not the one that the recipe was resolved with.
    """
    if isinstance(source, MicroworldSource):
        words = {"train": source.words, "validation": source.validation_words, "test": source.test_words}[split]
        return take(microworld.documents(source.world_seed, words, split), words)
    wanted = Take(words_of(source, split))
    chosen = chooser(held_out_of(source, split_seed), split)
    read_from = split if split in source.digests else "train"
    if isinstance(source, HubSource):
        return _read_dataset(source.digests[read_from], locations, source.text_field, wanted, chosen)
    return _read_files(source_files(source, read_from), locations, text_field(source), wanted, chosen)


def words_of(source: BabyLMSource | FileSource | HubSource, split: str) -> int | None:
    """Words that the source states for a split; None for all."""
    return source.words if split == "train" else source.evaluation_words


def text_field(source: Source) -> str:
    """The field or column that holds the text; without meaning for plain text."""
    return source.text_field if isinstance(source, FileSource | HubSource) else "text"


def held_out_of(source: Source, split_seed: int) -> HeldOut | None:
    """What a resolved source takes from train for the held-out splits that it lacks; None where it lacks none."""
    if not isinstance(source, FileSource | HubSource) or source.held_out_share is None:
        return None
    lacking = tuple(split for split in HELD_OUT if split not in source.digests)
    return HeldOut(source.held_out_share, split_seed, lacking) if lacking else None


Chooser = Callable[[Iterable[str]], Iterable[str]]


def chooser(held_out: HeldOut | None, split: str) -> Chooser:
    """Keeps those documents that belong to `split`."""

    def choose(documents: Iterable[str]) -> Iterable[str]:
        if held_out is None or (split != "train" and split not in held_out.lacking):
            return documents
        return (text for text in documents if held_out.split_of(fingerprint(text)) == split)

    return choose


def source_files(source: BabyLMSource | FileSource, split: str) -> list[tuple[str, str]]:
    """Digest and format of the files of a split, in reading order."""
    if isinstance(source, BabyLMSource):
        return [(source.digests[split], "text")]
    return list(zip(source.digests[split], source.formats[split], strict=True))


def _read_files(
    files: list[tuple[str, str]], locations: Mapping[str, Path], field: str, wanted: Take, chosen: Chooser
) -> Generator[str]:
    for digest, form in files:
        path = locations[digest]
        try:
            with CorpusFile(path, form, field) as file:
                if not wanted.full:
                    yield from wanted(chosen(file.documents()))
                found = file.sha256()
        except (OSError, UnusableFile) as error:
            raise RunError(f"{path}: {error}", _CHANGED) from error
        if found != digest:
            raise RunError(f"{path} changed since the run began (its SHA-256 is no longer {digest[:12]}...)", _CHANGED)


def _read_dataset(
    digest: str, locations: Mapping[str, Path], field: str, wanted: Take, chosen: Chooser
) -> Generator[str]:
    content = ContentDigest()
    path = locations[digest]
    try:
        texts = content.through(dataset_texts(path, field))
        yield from wanted(chosen(filter(str.strip, texts)))
        for _ in texts:
            pass
    except (OSError, UnusableFile) as error:
        raise RunError(f"{path}: {error}", _CHANGED) from error
    if content.hexdigest() != digest:
        raise RunError(f"{path} changed since the run began (its content is no longer {digest[:12]}...)", _CHANGED)
