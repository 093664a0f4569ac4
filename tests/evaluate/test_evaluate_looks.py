"""Suites at checkpoints while a training goes on: its bytes are as without, and the stage `curve` goes on from them."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from process_helper import below, wait_until

from ablab.errors import RunError
from ablab.evaluate.curve import learning_curve, look
from ablab.evaluate.looks import look_file, read_look
from ablab.spec.placement import Numerics
from ablab.store.context import LIVE_FILE, StageContext, silent
from ablab.train.launch import RANK
from ablab.train.looks import Looks
from ablab.train.stage import train

EVERY, STEPS, VALIDATION = 4, 8, "validation_loss_nats"
PARAMS: dict[str, Any] = {
    "model": {"layers": 2, "hidden": 16, "heads": 2, "ffn": 32, "context": 48},
    "vocab_size": 300,
    "schedule": {
        "steps": STEPS,
        "tokens_per_step": 192,
        "learning_rate": 1e-2,
        "warmup_steps": 2,
        "weight_decay": 0.1,
        "checkpoint_every": EVERY,
        "validation_tokens": 48,
    },
    "precision": "fp32",
    "train_seed": 7,
    "share": 0.0,
}
CURVE = {"precision": "fp32", "steps": [EVERY, STEPS], "suites": ["pairs", "places"], "items_per_task": 9}
Told = list[tuple[int, dict[str, float]]]


@pytest.fixture(scope="module")
def tokens(world: Any) -> Path:
    """The token streams of the world, of which the test split is held out as well."""
    made = world.root / "tokens-of-looks"
    shutil.copytree(world.root / "tokens", made)
    shutil.copy(made / "test.bin", made / "validation.bin")
    result = json.loads((made / "result.json").read_text())
    result["tokens"]["validation"] = result["tokens"]["test"]
    (made / "result.json").write_text(json.dumps(result))
    return Path(made)


@pytest.fixture
def training(world: Any, tokens: Path, tmp_path: Path) -> Callable[..., tuple[StageContext, StageContext, Told]]:
    """A training, the curve that waits for it, and what is told of its checkpoints."""

    def make(name: str = "a", suite: str = "suite", looks: bool = True, **numerics: Any) -> Any:
        told: Told = []
        folders = [tmp_path / name / part for part in ("out", "work", "curve-out", "curve-work")]
        for folder in folders:
            folder.mkdir(parents=True)
        one = Numerics(evaluation_rows=16, **numerics)
        inputs = {"suite": world.root / suite, "tokenizer": world.root / "tokenizer"}
        inputs["requests"] = world.root / world.requests(suite)
        curve = StageContext("c" * 64, CURVE, inputs, {}, folders[2], folders[3], one, silent, {})
        ctx = StageContext("0" * 64, PARAMS, {"tokens": tokens}, {}, folders[0], folders[1], one, silent, {})
        measured = lambda step, values: told.append((step, dict(values)))  # noqa: E731
        return replace(ctx, measured=measured, looks=(curve,) if looks else ()), curve, told

    return make


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def finished(curve: StageContext, trained: Path, work: str = "curve-work") -> tuple[dict[str, Any], dict[str, str]]:
    """Result and files of the stage `curve`, behind its training. In a new work directory all is computed anew."""
    new = not curve.work.with_name(work).is_dir()
    out = curve.out.with_name(f"out-of-{work}")
    for folder in (out, curve.work.with_name(work)):
        folder.mkdir(exist_ok=True)
    inputs, costs = {**curve.inputs, "train": trained}, dict[str, float]()
    result = learning_curve(replace(curve, inputs=inputs, out=out, work=curve.work.with_name(work), costs=costs))
    assert ("tokens" in costs) == new
    return result, digests(out)


def random_states() -> list[str]:
    """Of Python, NumPy and torch."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state().tolist()  # noqa: NPY002
    return [hashlib.sha256(repr(state).encode()).hexdigest() for state in states]


def test_a_training_with_looks_has_the_bytes_of_one_without_and_tells_what_the_curve_then_holds(training: Any) -> None:
    plain, _, told_plain = training("plain", looks=False)
    train(plain)
    ctx, curve, told = training("looked")
    before = random_states()
    result = train(ctx)
    assert random_states() == before
    assert digests(ctx.out) == digests(plain.out)
    assert "look_seconds" not in plain.costs and ctx.costs["look_seconds"] > 0
    assert result["checkpoints"][-1]["step"] == STEPS
    assert [(step, {VALIDATION: values[VALIDATION]}) for step, values in told] == told_plain
    stage, files = finished(curve, ctx.out)
    for place, (step, values) in enumerate(told):
        assert step == stage["steps"][place]
        scores = {f"score/{name}": suite["scores"][place] for name, suite in stage["suites"].items()}
        assert values == {VALIDATION: values[VALIDATION], "aggregate": stage["aggregate"][place], **scores}
    assert finished(curve, ctx.out, "anew") == (stage, files)


def test_scores_go_to_the_live_file_and_not_into_the_stage(training: Any) -> None:
    ctx, _, told = training()
    train(ctx)
    live = [json.loads(line) for line in (ctx.work / "live.jsonl").read_text().splitlines() if line]
    shown = {row["step"]: {name: row[name] for name in row if name.startswith("score/")} for row in live}
    wanted = {step: {name: value for name, value in values.items() if "/" in name} for step, values in told}
    assert {step: scores for step, scores in shown.items() if scores} == wanted
    assert "score" not in (ctx.out / "curves.jsonl").read_text()


@pytest.fixture
def long_suite(world: Any) -> str:
    """One whose item is longer than the context of the model."""
    long = {"id": "pairs/few/0", "context": "", "options": ["word " * 90, "other " * 90]}
    if not (world.root / "long").exists():
        world.suite("long", {"pairs": {"group": "linguistic", "chance": 50.0, "tasks": {"few": [long]}}})
    return "long"


def test_what_cannot_be_scored_ends_the_training_which_goes_on_from_that_checkpoint(
    training: Any, long_suite: str
) -> None:
    ctx, _, told = training(suite=long_suite)
    with pytest.raises(RunError, match=r"pairs/few/0.*\n?.*leave the suite"):
        train(ctx)
    assert told == [] and (ctx.work / "resume" / f"step-{EVERY:08d}").is_dir()
    whole, _, _ = training("whole", looks=False)
    train(whole)
    train(replace(ctx, looks=()))
    assert ctx.costs["resumed_from_step"] == EVERY
    assert digests(ctx.out) == digests(whole.out)


def test_what_cannot_be_scored_ends_the_ranks_that_wait_for_the_first(training: Any, long_suite: str) -> None:
    ctx, _, _ = training(suite=long_suite, ranks=2, micro_batch=1, threads=2)
    with pytest.raises(RunError, match=r"pairs/few/0.*\n?.*leave the suite"):
        train(ctx)
    wait_until(lambda: not below(os.getpid(), RANK), 20.0)


class Stopped(Exception):
    pass


def test_a_resumed_training_tells_its_looks_again_and_makes_none_twice(training: Any) -> None:
    ctx, curve, told = training()

    def stop(step: int, values: Mapping[str, float]) -> None:
        told.append((step, dict(values)))
        raise Stopped

    with pytest.raises(Stopped):
        train(replace(ctx, measured=stop))
    kept = look_file(curve.work, EVERY).stat()
    (first,) = told
    told.clear()
    train(ctx)
    assert told[0] == first and [step for step, _ in told] == [EVERY, STEPS]
    assert look_file(curve.work, EVERY).stat().st_ino == kept.st_ino
    shown = {row["step"]: row for row in map(json.loads, filter(None, (ctx.work / LIVE_FILE).read_text().splitlines()))}
    assert sorted(shown) == list(range(1, STEPS + 1)), "that of the step at which it was stopped too"
    assert first[1].items() <= shown[EVERY].items()


def test_a_look_that_is_damaged_or_of_other_weights_is_made_again(training: Any, world: Any) -> None:
    _, curve, _ = training()
    one, other = (world.root / name / "checkpoints" / "step-00000004" for name in ("train-a", "train-b"))
    scores = look(curve, EVERY, one)
    path = look_file(curve.work, EVERY)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert read_look(path) is None
    assert look(curve, EVERY, one) == scores
    assert path.read_bytes() == whole
    assert look(curve, EVERY, other) != scores


def test_without_waiting_curves_nothing_is_looked_at(tmp_path: Path) -> None:
    looks = Looks()
    assert not looks.due(EVERY)
    assert looks.at(EVERY, tmp_path / "none") == {}
    assert looks.seconds == 0.0


def test_of_two_ranks_with_divided_weights_the_first_scores_what_was_written(training: Any) -> None:
    ctx, curve, told = training(ranks=2, micro_batch=1, threads=2, zero_stage=3)
    train(ctx)
    assert ctx.costs["look_seconds"] > 0
    stage, files = finished(curve, ctx.out)
    assert [values["aggregate"] for _, values in told] == stage["aggregate"]
    assert finished(curve, ctx.out, "anew") == (stage, files), "in one process, with all threads"


def test_the_stage_has_the_rows_of_every_step(training: Any) -> None:
    ctx, curve, _ = training()
    train(ctx)
    inputs = {**curve.inputs, "train": ctx.out}
    learning_curve(replace(curve, inputs=inputs))
    table = pq.read_table(curve.out / "items.parquet")
    assert sorted(set(table["step"].to_pylist())) == [EVERY, STEPS]
    assert [field.name for field in table.schema] == ["step", "item", "cluster", "suite", "task", "group", "correct"]
