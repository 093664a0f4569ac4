"""Laws of suites, tasks and lm-eval's numbers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from ablab.errors import RunError
from ablab.evaluate import harness
from ablab.evaluate.items import ItemOutcome, read_rows
from ablab.evaluate.stage import evaluate
from ablab.store.context import StageContext

Fresh = Callable[..., StageContext]


def suites_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"one": {"group": "linguistic", "chance": 50.0, "tasks": {"only": rows}}}


def row(number: int, context: str = "", options: tuple[str, ...] = ("The key.", "The keys.")) -> dict[str, Any]:
    return {"id": f"one/only/{number}", "context": context, "options": list(options)}


def test_tasks_are_built_once_for_an_unchanged_suite_and_anew_for_a_changed_one(world: Any) -> None:
    world.suite("changing", suites_of([row(0)]))
    first = harness.build(world.root / "changing", {})
    assert harness.build(world.root / "changing", {}) is first
    world.suite("changing", suites_of([row(0, options=("A key.", "Two key."))]))
    second = harness.build(world.root / "changing", {})
    assert second is not first
    assert second.task_dict["tasks"]["one/only"].eval_docs[0]["options"] == ["A key.", "Two key."]


def test_scores_that_disagree_with_the_items_are_refused() -> None:
    outcomes = [ItemOutcome(f"one/only/{i}", "one", "only", "linguistic", (float(i), 0.5)) for i in range(2)]
    docs: list[dict[str, Any]] = [{}, {}]
    harness.check_score("one/only", outcomes, docs, 0.5)
    with pytest.raises(RunError, match=r"one/only: lm-eval reports acc 0.75, but that of its items is 0.5"):
        harness.check_score("one/only", outcomes, docs, 0.75)


def test_a_correlation_that_disagrees_with_the_items_is_refused() -> None:
    metric = "spearman"
    outcomes = [ItemOutcome(f"one/only/{i}", "one", "only", "g", (float(i), 0.5), metric) for i in range(4)]
    docs = [{"ratio": ratio} for ratio in (0.1, 0.2, 0.3, 0.25)]
    harness.check_score("one/only", outcomes, docs, 0.8)
    with pytest.raises(RunError, match=r"one/only: lm-eval reports spearman 0.9, but that of its items is 0.[78]"):
        harness.check_score("one/only", outcomes, docs, 0.9)


def test_a_tie_predicts_the_first_option() -> None:
    assert ItemOutcome("i", "s", "t", "g", (-2.0, -2.0, -3.0)).correct
    assert ItemOutcome("i", "s", "t", "g", (-2.0, -1.0, -1.0)).prediction == 1


def test_a_file_with_another_number_of_items_than_its_result_is_refused(world: Any) -> None:
    world.suite("short", suites_of([row(0), row(1)]))
    file = world.root / "short" / "one" / "only.jsonl"
    file.write_text(file.read_text(encoding="utf-8").splitlines()[0] + "\n", encoding="utf-8")
    with pytest.raises(RunError, match="one/only holds 1 items, but its result says 2"):
        harness.build(world.root / "short", {})


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ([], "there is no item"),
        ([row(0), row(0)], "two items have the same id"),
        ([row(0, options=("The key.",))], "two or more options"),
        ([row(0, options=("The key.", ""))], "not empty"),
        ([{"id": "one/only/0", "options": ["a", "b"]}], "context"),
    ],
)
def test_items_with_invalid_shape_are_refused(world: Any, rows: list[dict[str, Any]], fault: str) -> None:
    world.suite("faulty", suites_of(rows))
    with pytest.raises(RunError, match=rf"one/only.jsonl: .*{fault}"):
        read_rows(world.root / "faulty" / "one" / "only.jsonl")


def test_lm_eval_prints_nothing(world: Any, fresh: Fresh, capfd: pytest.CaptureFixture[str]) -> None:
    world.suite("quiet", suites_of([row(0), row(1, context="In the box: ")]))
    evaluate(fresh(suite="quiet"))
    assert capfd.readouterr() == ("", "")


def test_importing_the_package_imports_neither_torch_nor_lm_eval() -> None:
    code = (
        "import sys, ablab.evaluate, ablab.evaluate.items, ablab.evaluate.ngram, ablab.evaluate.perplexity;"
        "print(sorted({'torch', 'lm_eval', 'transformers', 'datasets'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
