"""Laws of the stage `evaluate`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from ablab.errors import RunError
from ablab.evaluate.stage import evaluate
from ablab.models.llama import load_checkpoint
from ablab.store.context import StageContext

Fresh = Callable[..., StageContext]


def items_of(ctx: StageContext) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(ctx.out / "items.parquet").to_pylist()
    return rows


def rows_by_id(world: Any, suite: str = "suite") -> dict[str, dict[str, Any]]:
    files = sorted((world.root / suite).glob("*/*.jsonl"))
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return {row["id"]: row for row in map(json.loads, lines)}


def independent_score(model: torch.nn.Module, tokenizer: Any, context: str, option: str) -> float:
    """One text, no batch, no padding: the definition of evaluation, token by token."""
    encoding = tokenizer.encode(context + option)
    with torch.no_grad():
        log_probs = model(torch.tensor([encoding.ids])).logits[0].double().log_softmax(-1)
    scored = [i for i, (_, end) in enumerate(encoding.offsets) if end > len(context)]
    return sum(float(log_probs[i - 1, encoding.ids[i]]) for i in scored)


def test_every_score_agrees_with_an_independent_unbatched_scorer(world: Any, fresh: Fresh) -> None:
    ctx = fresh()
    evaluate(ctx)
    model = load_checkpoint(ctx.inputs["train"] / "checkpoints" / "step-00000004")
    tokenizer = world.tokenizer
    rows = rows_by_id(world)
    for item in items_of(ctx):
        row = rows[item["item"]]
        wanted = [independent_score(model, tokenizer, row["context"], option) for option in row["options"]]
        assert item["log_probs"] == pytest.approx(wanted, abs=1e-4)


def test_items_hold_one_row_for_every_item_in_the_order_of_its_suite(world: Any, fresh: Fresh) -> None:
    ctx = fresh()
    result = evaluate(ctx)
    items = items_of(ctx)
    rows = rows_by_id(world)
    assert sorted(item["item"] for item in items) == sorted(rows)
    assert [item["item"] for item in items if item["task"] == "many"] == [f"pairs/many/{i}" for i in range(30)]
    for item in items:
        assert item["item"].split("/")[:2] == [item["suite"], item["task"]]
        assert item["group"] == result["suites"][item["suite"]]["group"]
        assert item["cluster"] == item["item"]  # a row without a cluster stands for itself
        assert item["prediction"] == int(np.argmax(item["log_probs"]))
        assert item["correct"] == (item["prediction"] == 0)
        assert len(item["log_probs"]) == len(rows[item["item"]]["options"])


def test_a_task_score_is_the_mean_of_its_items_and_a_suite_score_the_unweighted_mean_of_its_tasks(
    fresh: Fresh,
) -> None:
    ctx = fresh()
    result = evaluate(ctx)
    items = items_of(ctx)
    for suite, entry in result["suites"].items():
        for task, scored in entry["tasks"].items():
            outcomes = [item["correct"] for item in items if (item["suite"], item["task"]) == (suite, task)]
            assert scored["items"] == len(outcomes)
            assert scored["score"] == pytest.approx(100 * float(np.mean(outcomes)))
        assert entry["score"] == pytest.approx(float(np.mean([s["score"] for s in entry["tasks"].values()])))
    sizes = [task["items"] for task in result["suites"]["pairs"]["tasks"].values()]
    scores = [task["score"] for task in result["suites"]["pairs"]["tasks"].values()]
    assert np.average(scores, weights=sizes) != pytest.approx(result["suites"]["pairs"]["score"])


def test_two_models_in_one_process_each_give_their_own_scores(fresh: Fresh) -> None:
    first, second, again = fresh(train="train-a"), fresh(train="train-b"), fresh(train="train-a")
    results = [evaluate(ctx) for ctx in (first, second, again)]
    assert results[0] != results[1]
    assert results[0] == results[2]
    log_probs = [[item["log_probs"] for item in items_of(ctx)] for ctx in (first, second, again)]
    assert log_probs[0] == log_probs[2]
    assert all(one != other for one, other in zip(log_probs[0], log_probs[1], strict=True))


def test_the_same_inputs_give_the_same_bytes(fresh: Fresh) -> None:
    first, second = fresh(), fresh()
    assert json.dumps(evaluate(first)) == json.dumps(evaluate(second))
    assert (first.out / "items.parquet").read_bytes() == (second.out / "items.parquet").read_bytes()


def test_the_batch_size_changes_scores_within_rounding_only(fresh: Fresh) -> None:
    one, many = fresh(rows=1), fresh(rows=64)
    evaluate(one)
    evaluate(many)
    for a, b in zip(items_of(one), items_of(many), strict=True):
        assert a["log_probs"] == pytest.approx(b["log_probs"], abs=1e-4)


def test_pinned_output_so_that_a_change_of_results_bumps_the_revision(fresh: Fresh) -> None:
    result = evaluate(fresh())
    assert result["step"] == 4
    assert result["suites"]["pairs"]["group"] == "linguistic"
    assert result["suites"]["pairs"]["chance"] == 50.0
    scores = {name: round(entry["score"], 2) for name, entry in result["suites"].items()}
    assert scores == {"pairs": 75.0, "places": 36.67}
    pinned = {"loss_nats": 5.94024, "perplexity": 380.02, "bits_per_byte": 2.82505, "tokens": 149}
    assert result["language_modelling"] == pytest.approx(pinned, rel=1e-4)


def test_bf16_differs_from_fp32_by_little(fresh: Fresh) -> None:
    full = evaluate(fresh())["language_modelling"]["loss_nats"]
    half = evaluate(fresh({"precision": "bf16", "test_tokens": 150}))["language_modelling"]["loss_nats"]
    assert half != full
    assert half == pytest.approx(full, rel=0.02)


def test_equal_options_tie_exactly_and_the_tie_counts_as_correct(world: Any, fresh: Fresh) -> None:
    texts = [f"The key {i} is in the box." for i in range(40)]
    rows = [{"id": f"ties/all/{i}", "context": "", "options": [text, text]} for i, text in enumerate(texts)]
    world.suite("ties", {"ties": {"group": "linguistic", "chance": 50.0, "tasks": {"all": rows}}})
    result = evaluate(fresh(suite="ties"))
    assert result["suites"]["ties"]["score"] == 100.0


def test_an_item_longer_than_the_context_is_an_error_that_names_it_and_both_lengths(world: Any, fresh: Fresh) -> None:
    world.checkpoint("train-short", seed=1, context=20)
    long = max(
        rows_by_id(world).values(),
        key=lambda r: max(len(world.tokenizer.encode(r["context"] + o)) for o in r["options"]),
    )
    tokens = max(len(world.tokenizer.encode(long["context"] + option)) for option in long["options"])
    with pytest.raises(RunError, match=rf"item .+ has {tokens} tokens, but the model's context is 20 tokens"):
        evaluate(fresh(train="train-short"))


def test_a_text_as_long_as_the_context_is_scored(world: Any, fresh: Fresh) -> None:
    text = "The key is in the box."
    rows = [{"id": "exact/all/0", "context": "", "options": [text, "The box."]}]
    world.suite("exact", {"exact": {"group": "linguistic", "chance": 50.0, "tasks": {"all": rows}}})
    world.checkpoint("train-exact", seed=1, context=len(world.tokenizer.encode(text)))
    assert evaluate(fresh(train="train-exact", suite="exact"))["suites"]["exact"]["tasks"]["all"]["items"] == 1


def test_a_diverged_model_is_an_error(world: Any, fresh: Fresh) -> None:
    directory: Path = world.checkpoint("train-diverged", seed=1)
    weights = load_file(directory / "model.safetensors")
    weights["model.norm.weight"][:] = float("nan")
    save_file(weights, directory / "model.safetensors")
    with pytest.raises(
        RunError, match=r"item pairs/few/0, option 0: its log-probability is nan\nthe model has diverged"
    ):
        evaluate(fresh(train="train-diverged"))
