"""The stage suite: evaluation items of every source in one shape, `{"id", "context", "options"}`, option 0 correct."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from ablab.corpora import microworld
from ablab.corpora.pairs import Question, sentence_pair
from ablab.errors import RunError
from ablab.spec.base import build
from ablab.spec.suites import BabyLMSuite, MicroworldSuites
from ablab.store.context import StageContext

PAIR_CHANCE = 50.0  # %


class SuiteItems(NamedTuple):
    """One suite: its group, its chance in %, and its questions by task."""

    name: str
    group: str
    chance: float
    tasks: Mapping[str, Iterable[Question]]


def build_suite(ctx: StageContext) -> dict[str, Any]:
    """Write `<suite>/<task>.jsonl`; the row in the source is the last part of an item's id."""
    result: dict[str, Any] = {}
    sources = ctx.params["suites"]
    for done, params in enumerate(sources):
        for suite in _suites(params, ctx.locations):
            tasks = {task: _write(ctx.out, suite.name, task, questions) for task, questions in suite.tasks.items()}
            result[suite.name] = {"group": suite.group, "chance": suite.chance, "tasks": tasks}
        ctx.progress(done + 1, len(sources), "suites")
    ctx.costs["items"] = float(sum(sum(suite["tasks"].values()) for suite in result.values()))
    return {"suites": result}


def _suites(params: Mapping[str, Any], locations: Mapping[str, Path]) -> Iterator[SuiteItems]:
    if params["kind"] == "microworld":
        yield from _microworld(build(MicroworldSuites, params))
    else:
        yield _babylm(build(BabyLMSuite, {**params, "path": ""}), locations)


def _microworld(source: MicroworldSuites) -> Iterator[SuiteItems]:
    made = microworld.suites(source.world_seed, source.items_per_task)
    for name in source.names:
        suite = made[name]
        tasks = {
            task: [Question(item.context, tuple(item.options)) for item in items] for task, items in suite.tasks.items()
        }
        yield SuiteItems(name, suite.group, 100.0 * suite.chance, tasks)


def _babylm(source: BabyLMSuite, locations: Mapping[str, Path]) -> SuiteItems:
    tasks = {
        Path(file).stem: _rows(locations[digest], digest, source.items_per_task)
        for file, digest in sorted(source.digests.items())
    }
    return SuiteItems(source.name, source.group, PAIR_CHANCE, tasks)


def _rows(path: Path, digest: str, limit: int | None) -> list[Question]:
    """The first rows of a file, which must be the one that the recipe was resolved with."""
    remedy = "put the file back as it was, or start the run again to use it as it is"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: {error}", remedy) from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise RunError(f"{path} changed since the run began (its SHA-256 is no longer {digest[:12]}...)", remedy)
    lines = (line for line in data.decode("utf-8").split("\n") if line.strip())
    return [sentence_pair(line) for line in islice(lines, limit)]


def _write(out: Path, suite: str, task: str, questions: Iterable[Question]) -> int:
    """Write one task; returns its number of items."""
    folder = out / suite
    folder.mkdir(exist_ok=True)
    count = 0
    with (folder / f"{task}.jsonl").open("w", encoding="utf-8", newline="\n") as file:
        for row, question in enumerate(questions):
            item = {"id": f"{suite}/{task}/{row}", "context": question.context, "options": question.options}
            file.write(json.dumps(item, ensure_ascii=False) + "\n")
            count += 1
    return count
