"""The public pipeline's own predictions for one model give the scores of its own reports."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from ablab.corpora.suite_files import parse
from ablab.evaluate.harness import _groups
from ablab.evaluate.items import Suite
from ablab.evaluate.metrics import r2_increment, read_word, spearman
from ablab.spec.suites import SuiteTask

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
DATA = Path(os.environ.get("ABLAB_SHARED_DATA", SHARED))
REFERENCE, FULL = DATA / "reference", DATA / "evaluation_data" / "full_eval"

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not REFERENCE.is_dir(), reason="needs the pipeline's reference outputs (ABLAB_SHARED_DATA)"),
]


def predictions(file: str, key: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((REFERENCE / file).read_text(encoding="utf-8"))[key]["predictions"]
    return rows


def reported(file: str) -> tuple[dict[str, float], float]:
    """Scores of the tasks in a report, and its average."""
    text = (REFERENCE / file).read_text(encoding="utf-8")
    part = text.partition("### UID ACCURACY\n")[2].partition("\n\n")[0]
    tasks = {name: float(score) for name, score in re.findall(r"(\S+): (\S+)", part)}
    return tasks, float(text.partition("### AVERAGE ACCURACY\n")[2].split()[0])


def questions(task: SuiteTask, file: str) -> Any:
    found = parse(task, Path(file).name, (FULL / file).read_text(encoding="utf-8"))
    assert not found.faults
    return found.tasks


def test_nonce_words() -> None:
    [rows] = questions("wug", "wug_adj_nominalization/wug_adj_nominalization.jsonl").values()
    shares = [row["prob"] for row in predictions("wug_adj.predictions.json", "wug_adj")]
    rho = spearman([(share, question.more["ratio"]) for share, (_, question) in zip(shares, rows, strict=True)])
    assert f"{rho:.2f}" == "0.63"


@pytest.mark.parametrize(("task", "score"), [("eye-tracking", "1.0395"), ("self-paced-reading", "0.0013")])
def test_reading(task: SuiteTask, score: str) -> None:
    found = predictions("reading.predictions.json", "reading")
    words = []
    for number, question in questions(task, "reading/reading_data.csv")["reading_data"]:
        log_probs = [-found[number]["pred"]]
        if "previous" in question.more:
            log_probs.append(-found[number]["prev_pred"])
        words.append(read_word(question.more, log_probs))
    assert f"{100 * r2_increment(words):.4f}" == score
    report = (REFERENCE / "reading.report.txt").read_text(encoding="utf-8")
    assert f"{float(score):.2f}" in report


def group_means(suite: Suite, scores: dict[str, float]) -> float:
    """The mean over the lm-eval groups that a suite becomes, each the unweighted mean over its tasks."""
    groups = [group for group in _groups(suite) if "aggregate_metric_list" in group]
    assert all(group["aggregate_metric_list"][0]["weight_by_size"] is False for group in groups)
    means = []
    for group in groups:
        tasks = [scores[name.partition("/")[2]] for name in group["task"]]
        means.append(sum(tasks) / len(tasks))
    return sum(means) / len(means)


def test_entity_tracking() -> None:
    scores, average = reported("entity_tracking.report.txt")
    sections = {
        split: list(questions("entity-tracking", f"entity_tracking/{split}.jsonl"))
        for split in ("regular", "ambiref", "move_contents")
    }
    tasks = {task: 1 for of_split in sections.values() for task in of_split}
    assert tasks.keys() == scores.keys() - sections.keys()
    found = group_means(Suite("entity", "reasoning", 20.0, tasks, sections=sections), scores)
    assert found == pytest.approx(average, abs=0.006) == 28.72
    for split, levels in sections.items():
        assert sum(scores[level] for level in levels) / len(levels) == pytest.approx(scores[split], abs=0.006)


@pytest.mark.parametrize(
    ("file", "folder", "average"),
    [("supplement.report.txt", "supplement_filtered", 59.27), ("blimp.report.txt", "blimp_filtered", 75.54)],
)
def test_sentence_pairs(file: str, folder: str, average: float) -> None:
    scores, stated = reported(file)
    assert stated == average
    first = {p.stem: json.loads(p.read_text(encoding="utf-8").split("\n")[0]) for p in (FULL / folder).glob("*.jsonl")}
    tasks = dict.fromkeys(first, 1)
    # a report names the tasks of BLiMP by the UID in their rows, which is not always the name of the file
    by_task = {task: scores[row["UID"] if "field" in row else task] for task, row in first.items()}
    found = group_means(Suite("suite", "linguistic", 50.0, tasks), by_task)
    assert found == pytest.approx(average, abs=0.006)
