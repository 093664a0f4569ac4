"""Suites come out in one shape, with stable ids and the right option first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from corpora_helper import WORLD, recipe

from ablab.corpora import microworld
from ablab.corpora.resolve import resolve_recipe
from ablab.errors import RunError
from ablab.spec import Recipe, Replicate, lower

PAIRS = [{"sentence_good": f"good {i}", "sentence_bad": f"bad {i}", "UID": "x", "extra": i} for i in range(5)]


def build_suite(run_stage: Any, resolved: Recipe) -> Path:
    stage = lower(resolved, Replicate(train_seed=1, generation_seed=1)).roles["suite"]
    directory: Path = run_stage("suite", stage.params, {}, stage.locations)
    return directory


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def pairs(folder: Path, limit: int | None = None) -> dict[str, Any]:
    return {"kind": "babylm", "name": "pairs", "group": "linguistic", "path": str(folder), "items_per_task": limit}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pairs").mkdir()
    for task in ("one", "two"):
        (tmp_path / "pairs" / f"{task}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PAIRS))
    return tmp_path / "pairs"


def test_sentence_pairs_become_items_with_the_good_sentence_first(folder: Path, run_stage: Any, tmp_path: Path) -> None:
    directory = build_suite(run_stage, resolve_recipe(recipe([WORLD], [pairs(folder)]), tmp_path))
    assert json.loads((directory / "result.json").read_text()) == {
        "suites": {"pairs": {"group": "linguistic", "chance": 50.0, "tasks": {"one": 5, "two": 5}}}
    }
    assert rows(directory / "pairs" / "two.jsonl")[3] == {
        "id": "pairs/two/3",
        "context": "",
        "options": ["good 3", "bad 3"],
    }


def test_fewer_items_are_the_first_ones_with_the_same_ids(folder: Path, run_stage: Any, tmp_path: Path) -> None:
    few, all_of_them = (
        build_suite(run_stage, resolve_recipe(recipe([WORLD], [pairs(folder, limit)]), tmp_path)) for limit in (2, None)
    )
    assert rows(few / "pairs" / "one.jsonl") == rows(all_of_them / "pairs" / "one.jsonl")[:2]


def test_a_suite_file_that_changed_after_resolving_stops_the_stage(
    folder: Path, run_stage: Any, tmp_path: Path
) -> None:
    resolved = resolve_recipe(recipe([WORLD], [pairs(folder)]), tmp_path)
    (folder / "two.jsonl").write_text(json.dumps(PAIRS[0] | {"sentence_good": "new"}) + "\n")
    with pytest.raises(RunError, match=r"two\.jsonl changed since the run began"):
        build_suite(run_stage, resolved)


def test_microworld_suites_are_those_of_the_world(run_stage: Any, tmp_path: Path) -> None:
    names = ("entity_tracking", "minimal_pairs")
    asked = {"kind": "microworld", "world_seed": 1, "items_per_task": 6, "names": list(names)}
    directory = build_suite(run_stage, resolve_recipe(recipe([WORLD], [asked]), tmp_path))
    made = microworld.suites(1, 6)
    result = json.loads((directory / "result.json").read_text())["suites"]
    assert set(result) == set(names) == {path.name for path in directory.iterdir() if path.is_dir()}
    assert (result["entity_tracking"]["chance"], result["minimal_pairs"]["chance"]) == (20.0, 50.0)
    for name in names:
        assert result[name]["group"] == made[name].group
        for task, items in made[name].tasks.items():
            found = rows(directory / name / f"{task}.jsonl")
            assert result[name]["tasks"][task] == len(found) == len(items)
            assert [row["id"] for row in found] == [f"{name}/{task}/{row}" for row in range(len(items))]
            assert [(row["context"], tuple(row["options"])) for row in found] == [
                (item.context, tuple(item.options)) for item in items
            ]


@pytest.mark.data
def test_real_suites_have_the_rows_of_their_files(shared_data: Path, run_stage: Any, tmp_path: Path) -> None:
    asked = pairs(shared_data / "evaluation_data" / "fast_eval" / "supplement_fast")
    directory = build_suite(run_stage, resolve_recipe(recipe([WORLD], [asked]), tmp_path))
    [suite] = json.loads((directory / "result.json").read_text())["suites"].values()
    assert list(suite["tasks"].values()) == [50] * 5
    assert rows(directory / "pairs" / "hypernym.jsonl")[0]["options"][0].startswith("If the contractor didn't")
