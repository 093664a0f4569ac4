"""The study's GOOD model really trains: two optimizer steps of 162M parameters."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import psutil  # type: ignore[import-untyped]
import pytest

from ablab.store.context import StageContext
from ablab.train.engine import Engine, numerics
from ablab.train.settings import read_settings
from experiments.scales import paper

NEEDED_GIB = 10
available = psutil.virtual_memory().available / 2**30


@pytest.mark.skipif(available < NEEDED_GIB, reason=f"needs {NEEDED_GIB} GiB of memory; {available:.1f} are available")
def test_two_optimizer_steps_of_the_model_of_the_study(make_context: Callable[..., StageContext]) -> None:
    recipe = paper()
    shorter = {"steps": 2, "tokens_per_step": 1_024, "warmup_steps": 0, "checkpoint_every": 2}
    ctx = make_context(
        model=recipe.model.canonical(),
        vocab_size=recipe.tokenizer.vocab_size,
        schedule=recipe.schedule.canonical() | shorter,
        precision=recipe.precision,
    )
    settings = read_settings(ctx)
    tokens = np.random.default_rng(1).zipf(1.2, (1, 1_025)) % recipe.tokenizer.vocab_size
    with numerics(settings), Engine(settings) as engine:
        first, second = engine.step(tokens), engine.step(tokens)
        assert sum(weight.numel() for weight in engine.weights().values()) == 162_417_408
    assert first.loss_nats == pytest.approx(math.log(32_000), abs=0.3)
    assert second.loss_nats < first.loss_nats - 0.5
    assert first.learning_rate == 1e-3
    assert first.applied and second.applied
