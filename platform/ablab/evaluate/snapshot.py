"""Snapshots of lm-eval's tasks: made from the installed tasks and their data sets, and run from the file alone.

What a task does is lm-eval's own code: prompts, shots, filters and metrics. It is that of the snapshot, so that nodes
without a network, and later versions of a task, give the numbers of the day it was made.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from lm_eval.api.task import ConfigurableTask
from lm_eval.defaults import DEFAULT_OTHER_SEED, DEFAULT_RANDOM_SEED
from lm_eval.tasks import TaskManager
from lm_eval.tasks._index import Entry, Kind
from lm_eval.tasks._yaml_loader import load_yaml

from ablab.corpora.paths import absolute
from ablab.corpora.suite_lm_eval import ABOUT, read_about, snapshot_file
from ablab.errors import InputError, RunError, did_you_mean
from ablab.spec.suites import LmEvalTasks

_NOT_A_TASK = ("class", "tag", "group", "task_list")  # keys of a task file that are no part of a configuration


class SnapshotTask(ConfigurableTask):  # type: ignore[misc]
    """A task whose documents are those of a snapshot. What a task draws while it prepares them is drawn once."""

    def __init__(self, config: Mapping[str, Any], documents: Mapping[str, datasets.Dataset]) -> None:
        self._documents = documents
        self._prepared: dict[str, Any] = {}
        super().__init__(config={key: value for key, value in config.items() if key not in _NOT_A_TASK})
        if self.config.num_fewshot is None:
            self.set_config(key="num_fewshot", value=0)
        self.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)

    def download(self, dataset_kwargs: Mapping[str, Any] | None = None, **_: Any) -> None:
        """Nothing is downloaded."""
        del dataset_kwargs
        self.dataset = datasets.DatasetDict(self._documents)

    def training_docs(self) -> Any:
        return self._once("training", super().training_docs)

    def validation_docs(self) -> Any:
        return self._once("validation", super().validation_docs)

    def test_docs(self) -> Any:
        return self._once("test", super().test_docs)

    def fewshot_docs(self) -> Any:
        return self._once("fewshot", super().fewshot_docs)

    def _once(self, name: str, prepare: Callable[[], Any]) -> Any:
        """lm-eval prepares documents whenever it asks for them, and would judge answers by another draw."""
        if name not in self._prepared:
            self._prepared[name] = prepare()
        return self._prepared[name]


def seed_draws() -> None:
    """Tasks draw from the global generators (the order of options, for example): seeded as in lm-eval's own runs."""
    random.seed(DEFAULT_RANDOM_SEED)
    np.random.seed(DEFAULT_OTHER_SEED)  # noqa: NPY002  (the tasks' own code draws from it)
    torch.manual_seed(DEFAULT_OTHER_SEED)


def load(path: Path) -> SnapshotTask:
    """The task of a snapshot."""
    about = read_about(path.read_bytes())
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory(prefix="ablab-task-") as folder:
        names = archive.namelist()
        archive.extractall(folder, [name for name in names if name.startswith("config/")])
        config = load_yaml(Path(folder) / "config" / about["file"])
        documents = {
            Path(name).stem: datasets.Dataset(pq.read_table(BytesIO(archive.read(name))))
            for name in names
            if name.startswith("documents/")
        }
        seed_draws()
        task = SnapshotTask({**config, "task": about["task"]}, documents)
    if len(task.eval_docs) != about["documents"]:
        raise RunError(f"{path.name} holds {len(task.eval_docs)} documents, but says {about['documents']}", "fetch it")
    return task


def fetch_tasks(suites: Iterable[LmEvalTasks], data: Path) -> list[tuple[str, Path]]:
    """Make the snapshots that are absent; returns each suite's name with what was made. Raises as `export`."""
    made = []
    for suite in suites:
        include = absolute(suite.include, data) if suite.include is not None else None
        for task in suite.tasks:
            if not (target := snapshot_file(suite, task, data)).is_file():
                export(task, include, target)
                made.append((suite.name, target))
    return made


def export(name: str, include: Path | None, target: Path) -> None:
    """Make the snapshot of a task, with what its data set has for its splits.

    include: a folder of task files of one's own. Raises `InputError` for a name that is no single task, `RunError` for
    documents that cannot be reached.
    """
    entry = _entry(name, include)
    files = _closure(Path(str(entry.yaml_path)))
    root = Path(os.path.commonpath([file.parent for file in files]))
    try:
        task = ConfigurableTask(config=_config(entry))
    except (OSError, ValueError) as error:  # data sets raise either for what is not there or not reachable
        raise RunError(
            f"lm-eval's task {name!r}: its documents cannot be had ({error})", "run this where they can be reached"
        ) from error
    config = task.config
    splits = {config.training_split, config.validation_split, config.test_split, config.fewshot_split} - {None}
    about = {
        "task": name,
        "file": str(Path(str(entry.yaml_path)).relative_to(root)),
        "version": task.VERSION,
        "lm_eval": version("lm_eval"),
        "documents": len(task.eval_docs),
        "chance": _chance(task),
        "metrics": list(task.aggregation()),
        "filters": [one.name for one in task._filters],
    }
    content = {ABOUT: json.dumps(about, indent=1).encode()}
    content |= {f"config/{file.relative_to(root)}": file.read_bytes() for file in files}
    for split in sorted(splits & set(task.dataset)):
        content[f"documents/{split}.parquet"] = _parquet(task.dataset[split])
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.part")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        for file_name, data in content.items():
            archive.writestr(zipfile.ZipInfo(file_name), data)  # a fixed time: equal content, equal digest
    partial.replace(target)


def _entry(name: str, include: Path | None) -> Entry:
    """The task's entry among the folder's own, else among lm-eval's, whose index takes half a minute."""
    index: dict[str, Entry] = {}
    if include is not None:
        if not include.is_dir():
            raise InputError(f"include={include} is not a folder; give the folder of the task files")
        index = dict(TaskManager(include_path=str(include), include_defaults=False).task_index)
    if name not in index:
        index |= _stock()
    entry = index.get(name)
    if entry is None:
        raise InputError(f"lm-eval has no task {name!r}; {did_you_mean(name, list(index))}")
    if entry.kind is not Kind.TASK or entry.yaml_path is None or "task_list" in _raw(entry.yaml_path):
        members = [one for one in index.values() if one.kind is Kind.TASK and name in one.tags]
        hint = ", ".join(one.name for one in members[:12]) or "the tasks that it is made of"
        raise InputError(f"{name!r} is no single task of a file, but {entry.kind.name.lower()}; name {hint}")
    return entry


@cache
def _stock() -> dict[str, Entry]:
    return dict(TaskManager().task_index)


def _config(entry: Entry) -> dict[str, Any]:
    config = load_yaml(Path(str(entry.yaml_path)))
    if "class" in config:
        raise InputError(f"lm-eval's task {entry.name!r} is Python code with a data set of its own; it has no snapshot")
    return {key: value for key, value in config.items() if key not in _NOT_A_TASK} | {"task": entry.name}


def _raw(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = load_yaml(path, resolve_func=False, recursive=False)
    return found


def _closure(path: Path) -> list[Path]:
    """A task file, what it includes, and the Python beside each of them."""
    waiting, found = [path.resolve()], set[Path]()
    while waiting:
        file = waiting.pop()
        found |= {file, *file.parent.glob("*.py")}
        included = _raw(file).get("include", [])
        more = [(file.parent / one).resolve() for one in ([included] if isinstance(included, str) else included)]
        waiting += [one for one in more if one not in found]
    return sorted(found)


def _chance(task: ConfigurableTask) -> float | None:
    """What guessing scores in %, where documents have options."""
    if task.OUTPUT_TYPE != "multiple_choice":
        return None
    shares = [100.0 / len(task.doc_to_choice(doc)) for doc in task.eval_docs]
    return sum(shares) / len(shares)


def _parquet(rows: Any) -> bytes:
    """The rows with the types of the data set, which stand in the schema."""
    held = rows if isinstance(rows, datasets.Dataset) else datasets.Dataset.from_list(list(rows))
    table: pa.Table = held.with_format("arrow")[:]
    buffer = BytesIO()
    pq.write_table(table.replace_schema_metadata(held.features.arrow_schema.metadata), buffer, compression="zstd")
    return buffer.getvalue()
