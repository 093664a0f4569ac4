"""What resolving must know of a corpus text: digest, words, documents, and a sketch of them; found in one reading."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablab.corpora.filecheck import FactCache
from ablab.corpora.fingerprints import HeldOut, Sketch, Sketcher, fingerprint
from ablab.corpora.formats import CorpusFile, UnusableFile
from ablab.corpora.hub import ContentDigest

if TYPE_CHECKING:
    from ablab.corpora.fetch_http import Progress

TOLD_EVERY = 256  # documents


@dataclass(frozen=True)
class Part:
    """What a text, or the part of it that goes into one split, holds."""

    words: int
    documents: int
    sketch: Sketch


@dataclass(frozen=True)
class TextFacts:
    """Of a corpus file or dataset split. `faults` are complete lines that name it; then the rest means nothing."""

    digest: str
    """SHA-256 of the file, or of the content of a dataset split."""
    parts: Mapping[str, Part]
    """By split where held-out documents are taken from the text, else under ""."""
    faults: tuple[str, ...]


def file_facts(facts: FactCache, path: Path, form: str, text_field: str, held_out: HeldOut | None) -> TextFacts:
    """Of a corpus file (`formats`). Raises OSError."""
    kind = f"text:{form}:{text_field}{_cut(held_out)}"
    return _read(
        facts.of_files(kind, [path], lambda: asdict(_check_file(path, form, text_field, held_out, facts.heard)))
    )


def known_words(facts: FactCache, path: Path) -> int | None:
    """Words of a plain text that a plan has counted and that has not changed since. Raises OSError."""
    found = facts.known("text:text:text", [path])
    return _read(found).parts[""].words if found and not found["faults"] else None


def dataset_facts(
    facts: FactCache,
    path: Path,
    files: Sequence[Path],
    texts: Callable[[], Iterable[str]],
    text_field: str,
    held_out: HeldOut | None,
) -> TextFacts:
    """Of the dataset split at `path`, whose texts `texts` reads from `files`. Raises OSError."""
    kind = f"dataset:{text_field}{_cut(held_out)}"
    return _read(facts.of_files(kind, files, lambda: asdict(_check_dataset(path, texts(), held_out, facts.heard))))


def _cut(held_out: HeldOut | None) -> str:
    """What distinguishes the parts of one text from those of another cut."""
    return "" if held_out is None else f":{held_out.share}:{held_out.split_seed}:{'+'.join(held_out.lacking)}"


def _read(facts: Mapping[str, Any]) -> TextFacts:
    parts = {name: Part(of["words"], of["documents"], tuple(of["sketch"])) for name, of in facts["parts"].items()}
    return TextFacts(facts["digest"], parts, tuple(facts["faults"]))


def _check_file(path: Path, form: str, text_field: str, held_out: HeldOut | None, heard: Progress) -> TextFacts:
    with CorpusFile(path, form, text_field) as file:
        try:
            parts = _parts(_told(file, path, heard), held_out)
        except UnusableFile as error:
            return TextFacts("", {}, (f"{path}: {error}",))
        return TextFacts(file.sha256(), parts, _wordless(path, parts))


def _check_dataset(path: Path, texts: Iterable[str], held_out: HeldOut | None, heard: Progress) -> TextFacts:
    content = ContentDigest()
    try:
        parts = _parts(filter(str.strip, content.through(_counted(texts, path, heard))), held_out)
    except UnusableFile as error:
        return TextFacts("", {}, (f"{path}: {error}",))
    return TextFacts(content.hexdigest(), parts, _wordless(path, parts))


def _told(file: CorpusFile, path: Path, heard: Progress) -> Iterator[str]:
    """The documents of a file; tells how many bytes of it are read."""
    size = path.stat().st_size
    for number, text in enumerate(file.documents()):
        if number % TOLD_EVERY == 0:
            heard(f"reading {path}", min(file.position(), size - 1), size, "B")
        yield text
    heard(f"reading {path}", size, size, "B")


def _counted(texts: Iterable[str], path: Path, heard: Progress) -> Iterator[str]:
    """The texts of a dataset, whose files are compressed; tells how many there were."""
    number = 0
    for number, text in enumerate(texts, 1):
        if number % TOLD_EVERY == 0:
            heard(f"reading {path}", number, None, "texts")
        yield text
    heard(f"reading {path}", number, number, "texts")


def _wordless(path: Path, parts: Mapping[str, Part]) -> tuple[str, ...]:
    if any(part.words for part in parts.values()):
        return ()
    return (f"{path}: the file holds no words; give it text or leave it out",)


def _parts(documents: Iterable[str], held_out: HeldOut | None) -> dict[str, Part]:
    names = ["train", *held_out.lacking] if held_out else [""]
    words, counts = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    sketchers = {name: Sketcher() for name in names}
    for text in documents:
        mark = fingerprint(text)
        name = held_out.split_of(mark) if held_out else ""
        words[name] += len(text.split())
        counts[name] += 1
        sketchers[name].add(mark)
    return {name: Part(words[name], counts[name], sketchers[name].sketch()) for name in names}
