"""Reading stored results: order, sharing, and every fault that makes one unusable."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from ablab.analysis.comparable import check_comparable
from ablab.analysis.results import load_result
from ablab.errors import InputError

Write = Callable[..., Path]
Answers = Callable[..., Any]


def test_items_are_ordered_by_suite_task_and_id_whatever_the_order_of_the_file(
    write_result: Write, random_answers: Answers
) -> None:
    directory = write_result(random_answers(1))
    first = load_result(directory)
    table = pq.read_table(directory / "items.parquet")
    pq.write_table(table.take(np.random.default_rng(0).permutation(len(table))), directory / "items.parquet")
    again = load_result(directory)
    assert list(first.items) == list(again.items)
    assert list(first.answers) == list(again.answers)
    assert sorted(zip(first.suites, first.tasks, first.items, strict=True)) == list(
        zip(first.suites, first.tasks, first.items, strict=True)
    )


def test_equal_item_columns_are_shared(write_result: Write, random_answers: Answers) -> None:
    first = load_result(write_result(random_answers(1)))
    assert load_result(write_result(random_answers(2)), like=first).items is first.items
    assert load_result(write_result(random_answers(2, items=19)), like=first).items is not first.items


def test_a_score_that_its_items_do_not_give_is_refused(write_result: Write, random_answers: Answers) -> None:
    directory = write_result(random_answers(1))
    result = json.loads((directory / "result.json").read_text())
    result["suites"]["minimal_pairs"]["tasks"]["order"]["score"] += 5.0
    result["suites"]["qa_congruence"]["tasks"]["where"] = {"score": 1.0, "items": 2}
    (directory / "result.json").write_text(json.dumps(result))
    with pytest.raises(InputError) as error:
        load_result(directory)
    assert len(error.value.faults) == 4
    for fault in (
        "suite minimal_pairs: the score is",
        "suite qa_congruence: the score is",
        "minimal_pairs/order: the score is",
        "qa_congruence/where has a score but no items",
    ):
        assert fault in str(error.value)


@pytest.mark.parametrize("name", ["result.json", "items.parquet"])
@pytest.mark.parametrize("content", [None, b"", b"{}"])
def test_a_missing_or_damaged_file_is_named(
    write_result: Write, random_answers: Answers, name: str, content: bytes | None
) -> None:
    directory = write_result(random_answers(1))
    (directory / name).unlink()
    if content is not None:
        (directory / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        load_result(directory)


@pytest.mark.parametrize("perplexity", [float("nan"), float("inf")])
def test_a_perplexity_that_is_no_number_is_refused(
    write_result: Write, random_answers: Answers, perplexity: float
) -> None:
    with pytest.raises(InputError, match="perplexity"):
        load_result(write_result(random_answers(1), perplexity=perplexity))


def test_different_items_precision_and_tokenizer_are_refused_together_with_the_reason(
    write_result: Write, random_answers: Answers
) -> None:
    results = [
        ("real t1", load_result(write_result(random_answers(1)))),
        ("mixed t1", load_result(write_result(random_answers(2, items=19)))),
        ("mixed t2", load_result(write_result(random_answers(3), precision="bf16", tokenizer="u" * 64))),
    ]
    with pytest.raises(InputError) as error:
        check_comparable(results)
    first, second, third = error.value.faults
    assert first.startswith("mixed t1 cannot be compared with real t1: items differ (0 more, 5 fewer")
    assert "bf16 and fp32" in second
    assert "tokenizers" in third


def test_results_without_an_identity_are_compared_by_their_items(write_result: Write, random_answers: Answers) -> None:
    one, other = (load_result(write_result(random_answers(seed), precision=None)) for seed in (1, 2))
    check_comparable([("one", one), ("other", other)])
    assert one.identity == {}
