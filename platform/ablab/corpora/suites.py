"""The stage suite: evaluation items of every source in one shape, `{"id", "context", "options"}`, option 0 correct."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from ablab.corpora import microworld
from ablab.corpora.pairs import Question
from ablab.corpora.suite_ewok import read_archive
from ablab.corpora.suite_files import LAYOUTS, parse
from ablab.corpora.suite_lm_eval import copy_snapshots
from ablab.corpora.suite_reading import REGRESSIONS
from ablab.errors import RunError
from ablab.spec.base import build
from ablab.spec.suites import BabyLMSuite, LmEvalTasks, MicroworldSuites
from ablab.store.context import StageContext

Numbered = Iterable[tuple[int, Question]]


class SuiteItems(NamedTuple):
    """One suite: what the stage's result says of it, and its numbered questions by task."""

    name: str
    group: str
    chance: float | None
    """In %; None where there is no right answer."""
    tasks: Mapping[str, Numbered]
    metric: str | None = None
    """None is accuracy."""
    sections: Mapping[str, Sequence[str]] | None = None
    encrypted: str | None = None
    """SHA-256 of the zip that alone holds the text."""
    drawn: str | None = None
    """What clusters are named after; the suite itself where None."""


def build_suite(ctx: StageContext) -> dict[str, Any]:
    """Write `<suite>/<task>.jsonl`; the number of a question is the last part of its id."""
    result: dict[str, Any] = {}
    sources = ctx.params["suites"]
    for done, params in enumerate(sources):
        if params["kind"] == "lm-eval":
            tasks_of = build(LmEvalTasks, params)
            result[tasks_of.name] = copy_snapshots(tasks_of, ctx.locations, ctx.out)
            continue
        for suite in _suites(params, ctx.locations):
            tasks = {task: _write(ctx.out, suite, task) for task in suite.tasks}
            about = {"group": suite.group, "chance": suite.chance, "tasks": tasks}
            more = {"metric": suite.metric, "sections": suite.sections, "encrypted": suite.encrypted}
            result[suite.name] = about | {name: value for name, value in more.items() if value is not None}
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
            task: [
                (row, Question(item.context, tuple(item.options), cluster=item.cluster))
                for row, item in enumerate(items)
            ]
            for task, items in suite.tasks.items()
        }
        yield SuiteItems(name, suite.group, 100.0 * suite.chance, tasks)


def _babylm(source: BabyLMSuite, locations: Mapping[str, Path]) -> SuiteItems:
    tasks: dict[str, list[tuple[int, Question]]] = {}
    sections: dict[str, list[str]] = {}
    encrypted = None
    for file, digest in sorted(source.digests.items()):
        if source.task == "ewok":
            encrypted = digest
            found = {task: list(enumerate(rows)) for task, rows in read_archive(locations[digest], digest).items()}
        else:
            found = _read(source, file, locations[digest], digest)
            sections[PurePath(file).stem] = list(found)
        tasks |= {task: questions[: source.items_per_task] for task, questions in found.items()}
    layout = LAYOUTS[source.task]
    by_section = sections if source.task == "entity-tracking" else None
    files = "+".join(digest[:12] for _, digest in sorted(source.digests.items()))
    drawn = files if source.task in REGRESSIONS else None  # the same sentences are read in both ways
    return SuiteItems(source.name, source.group, layout.chance, tasks, layout.metric, by_section, encrypted, drawn)


def _read(source: BabyLMSuite, file: str, path: Path, digest: str) -> dict[str, list[tuple[int, Question]]]:
    """The questions of a file by task. It must be the one that the recipe was resolved with."""
    remedy = "put the file back as it was, or start the run again to use it as it is"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: {error}", remedy) from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise RunError(f"{path} changed since the run began (its SHA-256 is no longer {digest[:12]}...)", remedy)
    parsed = parse(source.task, file, data.decode("utf-8"), source.leading_space)
    if parsed.faults:
        raise RunError(f"{path}:{parsed.faults[0]}")
    return dict(parsed.tasks)


def _write(out: Path, suite: SuiteItems, task: str) -> int:
    """Write one task, of an encrypted suite ids alone; returns its number of items."""
    folder = out / suite.name
    folder.mkdir(exist_ok=True)
    count = 0
    with (folder / f"{task}.jsonl").open("w", encoding="utf-8", newline="\n") as file:
        for number, question in suite.tasks[task]:
            item: dict[str, Any] = {"id": f"{suite.name}/{task}/{number}"}
            if suite.encrypted is None:
                item |= {"context": question.context, "options": question.options, **(question.more or {})}
            if question.cluster is not None:
                item["cluster"] = f"{suite.drawn or suite.name}/{question.cluster}"
            file.write(json.dumps(item, ensure_ascii=False) + "\n")
            count += 1
    return count
