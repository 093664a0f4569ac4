"""Files of a suite in the BabyLM 2025 layout: one reader for checking them and for building the suite."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import NamedTuple

from ablab.corpora.filecheck import FileFacts, first_faults
from ablab.corpora.pairs import ENTITY_OPTIONS, NotARow, Question, nonce_word, sentence_pair, tracked_entity
from ablab.corpora.suite_reading import EYE_TRACKING, REGRESSIONS, SELF_PACED, read_words
from ablab.spec.suites import SuiteTask

SPEARMAN, R2_INCREMENT = "spearman", "r2-increment"
LEAST_WUG = 3  # rows; two always correlate perfectly or not at all


class Layout(NamedTuple):
    """What is fixed for a kind of suite. `chance` in %; `metric` None is accuracy."""

    suffix: str
    chance: float | None
    metric: str | None
    rows: str
    """What a file holds, in words."""
    mean: str
    """What a file is one part of."""
    least: int = 1
    """Items that a score takes."""


LAYOUTS: Mapping[SuiteTask, Layout] = {
    "sentence-pairs": Layout(".jsonl", 50.0, None, "sentence pairs", "tasks"),
    "ewok": Layout(".jsonl", 50.0, None, "rows", "domains"),
    "entity-tracking": Layout(".jsonl", 100.0 / ENTITY_OPTIONS, None, "rows", "splits"),
    "wug": Layout(".jsonl", None, SPEARMAN, "nonce words", "tasks", LEAST_WUG),
    EYE_TRACKING: Layout(".csv", None, R2_INCREMENT, "words", "tasks", REGRESSIONS[EYE_TRACKING].least),
    SELF_PACED: Layout(".csv", None, R2_INCREMENT, "words", "tasks", REGRESSIONS[SELF_PACED].least),
}


class Parsed(NamedTuple):
    """What a file holds: numbered questions by task (in order), and faults as `LINE: reason`."""

    tasks: Mapping[str, list[tuple[int, Question]]]
    faults: list[str]


def parse(task: SuiteTask, name: str, text: str, leading_space: bool = False) -> Parsed:
    """The content of the file `name`. A question's number is its row in the file, or in its level (entity tracking)."""
    stem = PurePath(name).stem
    if task in REGRESSIONS:
        words, faults = read_words(text, task, leading_space)
        return Parsed({stem: [(number, _of_file(stem, word)) for number, word in words]}, faults)
    tasks: dict[str, list[tuple[int, Question]]] = {}
    faults = []
    for line, found in _each_line(text, _READERS[task]):
        if isinstance(found, NotARow):
            faults.append(f"{line}: {found}; correct or remove the line")
        else:
            part, question = found
            of_task = tasks.setdefault(stem + part, [])
            of_task.append((len(of_task), _of_file(stem, question)))
    return Parsed(dict(sorted(tasks.items(), key=lambda item: _natural(item[0]))), faults)


def _of_file(stem: str, question: Question) -> Question:
    """Files count their stories and sentences anew."""
    return question if question.cluster is None else question._replace(cluster=f"{stem}#{question.cluster}")


def check_file(task: SuiteTask, path: Path) -> FileFacts:
    """Digest of a suite's file, and everything in it that cannot be used. Raises OSError."""
    data = path.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    layout = LAYOUTS[task]
    try:
        parsed = parse(task, path.name, data.decode("utf-8"))
    except UnicodeDecodeError as error:
        return FileFacts(sha256, (f"{path}: invalid UTF-8 at byte offset {error.start}; convert the file to UTF-8",))
    faults = [f"{path}:{fault}" for fault in parsed.faults]
    if not faults and not data.strip():
        faults = [f"{path}: the file holds no {layout.rows}; fill or remove it"]
    elif not faults:
        faults = [
            f"{path}: {len(questions)} {layout.rows} are too few for a score; {layout.least} are needed"
            for questions in parsed.tasks.values()
            if len(questions) < layout.least
        ]
        if layout.metric == SPEARMAN and not faults and not _ratios_differ(parsed):
            faults = [f"{path}: every ratio is the same; nothing can correlate with it"]
    return FileFacts(sha256, first_faults(str(path), faults))


def _ratios_differ(parsed: Parsed) -> bool:
    ratios = {(q.more or {})["ratio"] for questions in parsed.tasks.values() for _, q in questions}
    return len(ratios) > 1


Reader = Callable[[str], tuple[str, Question]]
"""Of a line: what is added to the file's name to name the task, and the question."""


def _level(line: str) -> tuple[str, Question]:
    operations, question = tracked_entity(line)
    return f"_{operations}_ops", question


_READERS: Mapping[SuiteTask, Reader] = {
    "sentence-pairs": lambda line: ("", sentence_pair(line)),
    "wug": lambda line: ("", nonce_word(line)),
    "entity-tracking": _level,
}


def _each_line(text: str, read: Reader) -> Iterator[tuple[int, tuple[str, Question] | NotARow]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, read(line)
            except NotARow as fault:
                yield number, fault


def _natural(name: str) -> list[tuple[int, str]]:
    """Order of names in which 10 comes after 9."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in name.split("_")]
