"""Selection data and final data are disjoint halves of one evaluation."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ablab.analysis import ArmResults, paired_effect
from ablab.errors import RunError
from ablab.evaluate.items import SCHEMA as SCHEMA_OF_ITEMS
from ablab.evaluate.metrics import spearman
from ablab.search.halves import Judgement, load_half, value

SCHEMA = pa.schema([field for field in SCHEMA_OF_ITEMS if field.name != "cluster"])  # as before clusters
ROWS = 22  # of a task: five blocks of four, and two rows
LOSS = 4.0


def judged(folder: Path, rows: int = ROWS, answers: int = 1) -> Judgement:
    """An evaluation: answers follow from a generator, so that the halves differ; a suite of nonce words beside."""
    rng = np.random.default_rng(answers)
    items, tasks = [], {}
    for task in ("one", "two"):
        given = rng.random(rows) < 0.6
        tasks[task] = {"score": 100.0 * float(given.mean()), "items": rows}
        items += [_item("pairs", task, row, bool(right), [-1.0, -2.0]) for row, right in enumerate(given)]
    log_probs = -rng.random((rows, 2))
    items += [_item("wug", "words", row, None, list(map(float, found))) for row, found in enumerate(log_probs)]
    ratios = rng.random(rows)
    whole = spearman([(1 / (1 + math.exp(b - a)), ratio) for (a, b), ratio in zip(log_probs, ratios, strict=True)])
    suites = {
        "pairs": _suite(sum(one["score"] for one in tasks.values()) / 2, tasks),
        "wug": _suite(100 * whole, {"words": {"score": 100 * whole, "items": rows}})
        | {"metric": "spearman", "chance": None},
    }
    language = {"loss_nats": 4.5, "perplexity": math.exp(4.5), "bits_per_byte": 2.0, "tokens": 1_000}
    made = Judgement(folder / "evaluate", folder / "select", folder / "suite")
    (made.suite / "wug").mkdir(parents=True)
    for place in (made.evaluate, made.select):
        place.mkdir(parents=True)
    result = {"suites": suites, "language_modelling": language, "step": 20}
    (made.evaluate / "result.json").write_text(json.dumps(result))
    pq.write_table(pa.Table.from_pylist(items, schema=SCHEMA), made.evaluate / "items.parquet")
    (made.select / "result.json").write_text(json.dumps({"step": 20, "validation_loss_nats": LOSS}))
    lines = [json.dumps({"id": f"wug/words/{row}", "ratio": float(ratio)}) for row, ratio in enumerate(ratios)]
    (made.suite / "wug" / "words.jsonl").write_text("\n".join(lines) + "\n")
    return made


def _item(suite: str, task: str, row: int, correct: bool | None, log_probs: list[float]) -> dict[str, object]:
    about = {"item": f"{suite}/{task}/{row}", "suite": suite, "task": task, "group": "reasoning"}
    return about | {"correct": correct, "prediction": 0, "value": None, "log_probs": log_probs}


def _suite(score: float, tasks: dict[str, dict[str, float]]) -> dict[str, object]:
    return {"score": score, "group": "reasoning", "chance": 50.0, "tasks": tasks}


def test_the_halves_hold_every_item_once_in_blocks_of_four(tmp_path: Path) -> None:
    made = judged(tmp_path)
    halves = {half: load_half(made, half) for half in ("selection", "final")}
    selection, final = (set(halves[half].items.tolist()) for half in ("selection", "final"))
    assert not selection & final
    assert len(selection | final) == 3 * ROWS
    rows = sorted(int(item.rpartition("/")[2]) for item in selection if item.startswith("pairs/one/"))
    assert rows == [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19]


def test_rows_of_one_story_are_in_one_half_also_across_tasks(tmp_path: Path) -> None:
    made = judged(tmp_path)
    table = pq.read_table(made.evaluate / "items.parquet")
    stories = [f"pairs/#{int(item.rpartition('/')[2]) % 7}" for item in table["item"].to_pylist()]
    pq.write_table(table.append_column("cluster", pa.array(stories)), made.evaluate / "items.parquet")
    for half, numbers in (("selection", {0, 1, 2, 3}), ("final", {4, 5, 6})):
        rows = [int(item.rpartition("/")[2]) for item in load_half(made, half).items.tolist()]
        assert {row % 7 for row in rows} == numbers
        assert len(rows) == 3 * sum(row % 7 in numbers for row in range(ROWS))


def test_a_score_of_a_half_is_that_of_its_own_items(tmp_path: Path) -> None:
    made = judged(tmp_path)
    table = pq.read_table(made.evaluate / "items.parquet").to_pylist()
    for half, parity in (("selection", 0), ("final", 1)):
        expected = []
        for task in ("one", "two"):
            mine = [r for r in table if r["task"] == task and int(r["item"].rpartition("/")[2]) // 4 % 2 == parity]
            expected.append(100 * sum(row["correct"] for row in mine) / len(mine))
        assert value(load_half(made, half), "pairs") == pytest.approx(sum(expected) / 2)


def test_a_suite_without_right_answers_is_divided_too(tmp_path: Path) -> None:
    made = judged(tmp_path)
    whole = json.loads((made.evaluate / "result.json").read_text())["suites"]["wug"]["score"]
    selection, final = (value(load_half(made, half), "wug") for half in ("selection", "final"))
    assert len({selection, final, whole}) == 3
    held = pq.read_table(made.evaluate / "items.parquet").to_pylist()
    shares = {row["item"]: 1 / (1 + math.exp(row["log_probs"][1] - row["log_probs"][0])) for row in held}
    ratios = [json.loads(line) for line in (made.suite / "wug" / "words.jsonl").read_text().splitlines()]
    mine = [(shares[row["id"]], row["ratio"]) for row in ratios if int(row["id"].rpartition("/")[2]) // 4 % 2]
    assert final == pytest.approx(100 * spearman(mine)), "computed again from the rows of the half"
    both = value(load_half(made, "final"), "reasoning")
    assert both == pytest.approx((final + value(load_half(made, "final"), "pairs")) / 2)


def test_what_a_word_adds_to_a_half_is_that_of_the_half(tmp_path: Path) -> None:
    one, other = (judged(tmp_path / name, answers=seed) for seed, name in ((1, "one"), (2, "other")))
    found, base = load_half(one, "final"), load_half(other, "final")
    for metric in ("wug", "reasoning"):
        effect = paired_effect(ArmResults("one", (found,)), ArmResults("other", (base,)), metric)
        assert effect is not None
        assert effect.estimate == pytest.approx(value(found, metric) - value(base, metric), abs=1e-9)
        assert effect.interval is not None


def test_perplexity_is_of_validation_text_while_searching_and_of_test_text_at_the_end(tmp_path: Path) -> None:
    made = judged(tmp_path)
    assert value(load_half(made, "selection"), "perplexity") == math.exp(LOSS)
    assert value(load_half(made, "final"), "perplexity") == math.exp(4.5)


def test_a_task_too_small_to_be_divided_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="too few rows to be divided"):
        load_half(judged(tmp_path, rows=4), "final")
