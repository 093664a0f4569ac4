"""Pinned outputs: when one of these changes, the `revision` of that stage kind must be raised with it.

Contents are pinned, not file bytes, so that another version of a library's container format changes nothing.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from corpora_helper import documents, recipe, source

from ablab.corpora.resolve import resolve_recipe
from ablab.corpora.splits import SPLITS
from ablab.corpora.streams import open_stream, read_documents
from ablab.spec import Replicate, lower
from ablab.spec.stages import KINDS

PINNED = {
    ("corpus", 2): "20ccae4492d0b7b2",
    ("tokenizer", 1): "3375e33d92e64dac",
    ("tokens", 1): "d540116804298b4b",
    ("suite", 3): "9458406163dfe8d0",
    ("requests", 2): "91b2fef3f69b9bca",
    ("describe", 2): "530e6575bb45b1d2",
}


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def result(directory: Path) -> Any:
    return json.loads((directory / "result.json").read_text())


@pytest.fixture
def contents(layout: Any, run_stage: Any, tmp_path: Path) -> dict[str, Any]:
    """What the stages hold for one fixed input, by kind."""
    files = {"train": documents(120), "validation": documents(12, 1), "test": documents(12, 2) + documents(3)}
    folder = layout({"one": files})
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / "some.jsonl").write_text('{"sentence_good": "Good.", "sentence_bad": "Bad."}\n')
    suite = {"kind": "babylm", "name": "pairs", "group": "linguistic", "path": "pairs", "items_per_task": None}
    resolved = resolve_recipe(recipe([source("one", folder, words=2_000)], [suite]), tmp_path)
    roles = lower(resolved, Replicate(train_seed=1, generation_seed=1)).roles
    made: dict[str, Path] = {}
    for role in ("corpus", "tokenizer", "tokens", "suite", "requests"):
        inputs = {name: made[name] for name in roles[role].inputs}
        made[role] = run_stage(role, roles[role].params, inputs, roles[role].locations)
    described = roles["real_describe"]
    inputs = {name: made["suite" if name == "suite" else "corpus"] for name in described.inputs}
    made["describe"] = run_stage("describe", {"world_seeds": [1]}, inputs)
    held = {role: [result(directory)] for role, directory in made.items()}
    held["corpus"] += [list(read_documents(made["corpus"], split)) for split in SPLITS]
    held["tokenizer"] += [json.loads((made["tokenizer"] / "tokenizer.json").read_text())["model"]["merges"]]
    held["tokens"] += [open_stream(made["tokens"], split).tolist() for split in ("train", "validation", "test")]
    held["describe"] += [json.loads((made["describe"] / "samples.json").read_text())]
    held["requests"] += [pq.read_table(made["requests"] / "pairs.parquet").to_pylist()]
    held["suite"] += [(made["suite"] / "pairs" / "some.jsonl").read_text()]
    return held


def test_a_change_of_results_comes_with_a_new_revision(contents: dict[str, Any]) -> None:
    found = {(kind, KINDS[kind].revision): digest(value) for kind, value in contents.items()}
    assert found == PINNED
