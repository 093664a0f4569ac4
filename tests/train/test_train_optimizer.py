"""The learning rate's shape and what is decayed."""

from __future__ import annotations

from typing import Any

import pytest

from ablab.models.llama import initialise, llama_config
from ablab.spec.recipe import Model, Schedule
from ablab.train.optimizer import adamw, learning_rate_factor, parameter_groups


def schedule(**changes: Any) -> Schedule:
    fields: dict[str, Any] = {
        "steps": 100,
        "tokens_per_step": 64,
        "learning_rate": 1e-3,
        "warmup_steps": 9,
        "weight_decay": 0.1,
        "checkpoint_every": 10,
        "validation_tokens": 64,
    }
    return Schedule(**(fields | changes))


def test_learning_rate_warms_up_linearly_and_falls_as_a_cosine_to_zero() -> None:
    factor = learning_rate_factor(schedule())
    assert [factor(step) for step in range(10)] == pytest.approx([(step + 1) / 10 for step in range(10)])
    falling = [factor(step) for step in range(9, 101)]
    assert falling == sorted(falling, reverse=True)
    assert factor(9 + 91 // 2) == pytest.approx(0.5, abs=0.01)
    assert factor(99) > 0.0
    assert factor(100) == 0.0


def test_without_warmup_the_first_step_has_the_full_rate() -> None:
    assert learning_rate_factor(schedule(warmup_steps=0))(0) == 1.0


@pytest.mark.parametrize("tied", [False, True])
def test_matrices_decay_and_norms_and_embeddings_do_not(tied: bool) -> None:
    model = initialise(llama_config(Model(layers=1, hidden=8, heads=2, ffn=8, context=4, tied_embeddings=tied), 16), 1)
    decayed, spared = parameter_groups(model.named_parameters(), schedule())
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    assert {names[id(p)] for p in spared["params"]} == {
        "model.embed_tokens.weight",
        "model.norm.weight",
        "model.layers.0.input_layernorm.weight",
        "model.layers.0.post_attention_layernorm.weight",
    }
    assert ("lm_head.weight" in {names[id(p)] for p in decayed["params"]}) == (not tied)


def test_decay_norms_decays_everything() -> None:
    model = initialise(llama_config(Model(layers=1, hidden=8, heads=2, ffn=8, context=4), 16), 1)
    (group,) = parameter_groups(model.named_parameters(), schedule(decay_norms=True))
    assert len(group["params"]) == len(list(model.parameters()))
    assert group["weight_decay"] == 0.1


def test_adamw_takes_its_constants_from_the_schedule() -> None:
    model = initialise(llama_config(Model(layers=1, hidden=8, heads=2, ffn=8, context=4), 16), 1)
    defaults = adamw(model.named_parameters(), schedule(beta1=0.8, beta2=0.95, epsilon=1e-6)).defaults
    assert (defaults["lr"], defaults["betas"], defaults["eps"]) == (1e-3, (0.8, 0.95), 1e-6)
