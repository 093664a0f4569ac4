"""What a search sees of learning curves: selection data alone, weighed as the suite weighs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pytest

from ablab.search.looks import selection_score

NAMES = ("item", "cluster", "suite", "task", "group", "correct")
SECTIONS = {"one": ["a", "b"], "other": ["c"]}


def rows(
    suite: str, task: str, group: str, answers: str, story: Mapping[int, str] | None = None
) -> list[tuple[str, ...]]:
    """Items of a task in the order of its rows; '+' is right. story: of some rows."""
    ids = [f"{suite}/{task}/{number}" for number in range(len(answers))]
    told = [(story or {}).get(number, one) for number, one in enumerate(ids)]
    return [(i, c, suite, task, group, answer) for i, c, answer in zip(ids, told, answers, strict=True)]


def score(folder: Path, metric: str, *several: list[tuple[str, ...]]) -> float:
    every = [row for one in several for row in one]
    columns = dict(zip(NAMES, map(list, zip(*every, strict=True)), strict=True))
    columns["correct"] = [answer == "+" for answer in columns["correct"]]
    (folder / "result.json").write_text(json.dumps({"suites": {"s": {"sections": SECTIONS}, "t": {}}}))
    return selection_score(pa.table(columns), folder, metric)


def test_rows_of_final_data_do_not_count(tmp_path: Path) -> None:
    assert score(tmp_path, "t", rows("t", "a", "g", "++-- ++++ ++++".replace(" ", ""))) == pytest.approx(75.0)
    assert score(tmp_path, "t", rows("t", "a", "g", "++-- ---- ++++".replace(" ", ""))) == pytest.approx(75.0)


def test_rows_that_share_a_story_go_with_the_first_of_them(tmp_path: Path) -> None:
    shared = rows("t", "a", "g", "+--++", story={3: "t/a/3", 4: "t/a/3"})
    assert score(tmp_path, "t", shared) == pytest.approx(60.0)


def test_tasks_weigh_within_sections_and_suites_alike(tmp_path: Path) -> None:
    first = [*rows("s", "a", "g", "++++"), *rows("s", "b", "g", "----"), *rows("s", "c", "g", "++++")]
    second = rows("t", "a", "h", "----")
    assert score(tmp_path, "s", first, second) == pytest.approx(75.0)
    assert score(tmp_path, "g", first, second) == pytest.approx(75.0)
    assert score(tmp_path, "aggregate", first, second) == pytest.approx(37.5)
