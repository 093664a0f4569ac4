"""Points are exact: what is drawn is what an arm says, and the other way round."""

from __future__ import annotations

import optuna
from hypothesis import given
from hypothesis import strategies as st
from recipes_helper import contrastive

from ablab.search import Categorical, Float, Integer
from ablab.search.points import drawn, edits_of, params_of
from ablab.spec import edit

SPACE = {
    "mixture.share": Float(low=0.1, high=0.9, step=0.1),
    "synthetic.decoding.alpha": Float(low=0.01, high=0.5, log=True),
    "synthetic.decoding.top_k": Categorical(choices=(None, 20, 50)),
    "synthetic.bad": Categorical(
        choices=({"kind": "early-checkpoint", "step": 5}, {"kind": "attention-dropout", "p": 0.5})
    ),
    "synthetic.tokens": Integer(low=1_000, high=3_000, step=500),
}


@given(st.integers(min_value=0, max_value=8))
def test_a_range_with_steps_gives_the_number_that_a_person_writes(index: int) -> None:
    noisy = 0.1 + index * 0.1  # 0.30000000000000004
    assert edits_of({"mixture.share": noisy}, SPACE) == {"mixture.share": float(f"0.{index + 1}")}


def test_the_points_of_a_recipe_are_its_own_values() -> None:
    recipe = contrastive()
    params = params_of(recipe, SPACE)
    assert params is not None
    assert edit(recipe, edits_of(params, SPACE)) == recipe


def test_a_recipe_outside_the_space_has_no_point() -> None:
    assert params_of(edit(contrastive(), {"mixture.share": 0.35}), SPACE) is None
    assert params_of(edit(contrastive(), {"mixture.share": 1.0}), SPACE) is None
    assert params_of(edit(contrastive(), {"synthetic.decoding.top_k": 21}), SPACE) is None


def test_every_point_that_is_drawn_is_a_recipe() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(20):
        trial = study.ask()
        edits = drawn(trial, SPACE)
        recipe = edit(contrastive(), edits)
        assert edits_of(trial.params, SPACE) == edits
        assert recipe.mixture.share == round(recipe.mixture.share, 1)
