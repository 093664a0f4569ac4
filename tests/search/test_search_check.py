"""What cannot be searched is said before anything is computed, all faults together."""

from __future__ import annotations

from typing import Any

import pytest
from recipes_helper import contrastive
from study_helper import small_design

from ablab.search import Categorical, ClearlyWorse, Float, Integer, Objective, Wilcoxon
from ablab.search.check import study_faults
from ablab.spec import Replicate, edit
from ablab.spec.edit import dump
from ablab.spec.suites import LmEvalTasks
from experiments.scales import tiny

PAIR = (Replicate(train_seed=1, generation_seed=1), Replicate(train_seed=2, generation_seed=2))
PERPLEXITY = Objective(metric="perplexity", direction="minimize")
REASONING = Objective(metric="reasoning", direction="maximize")


def faults(**changes: Any) -> list[str]:
    return study_faults(small_design(**changes), "here")


def test_a_sound_design_has_no_fault() -> None:
    assert faults() == []
    assert faults(objectives=(PERPLEXITY, REASONING)) == []


@pytest.mark.parametrize(
    ("path", "range_", "words"),
    [
        ("schedule.learning_rat", Float(low=0.1, high=1.0), "did you mean 'schedule.learning_rate'"),
        ("synthetic.decoding.top_k", Integer(low=1, high=5), "synthetic is null here"),
        ("schedule.learning_rate", Float(low=1.0, high=1.0), "the range is empty"),
        ("schedule.learning_rate", Float(low=2.0, high=1.0), "the range is empty"),
        ("schedule.learning_rate", Float(low=0.0, high=1.0), "low=0.0 is outside the recipe's limits"),
        ("schedule.learning_rate", Float(low=0.1, high=11.0), "high=11.0 is outside the recipe's limits"),
        ("schedule.learning_rate", Float(low=0.1, high=1.0, step=2.0), "step=2.0 is longer than the range"),
        ("schedule.learning_rate", Float(low=0.1, high=1.0, step=0.1, log=True), "exclude each other"),
        ("schedule.weight_decay", Float(low=0.0, high=1.0, log=True), "must be above 0 for a logarithmic range"),
        ("schedule.warmup_steps", Float(low=0.5, high=1.5), "low=0.5 is outside the recipe's limits"),
        ("schedule.warmup_steps", Integer(low=1, high=20), "schedule.warmup_steps=20 must be less than"),
        ("schedule.clip_norm", Categorical(choices=(None, -1.0)), "choice -1.0 is outside the recipe's limits"),
        ("schedule.clip_norm", Categorical(choices=(1.0,)), "is a single value"),
        ("schedule.clip_norm", Categorical(choices=(None, 1.0, 1.0)), "holds 1.0 twice"),
        ("schedule.clip_norm", Categorical(choices=(None, {1, 2})), "which has no stable form"),
        ("corpus.split_seed", Integer(low=1, high=2), "changes what trials are judged by"),
        ("evaluation.test_tokens", Integer(low=1_024, high=2_048), "changes what trials are judged by"),
    ],
)
def test_a_range_that_cannot_be_searched_is_named_with_its_rule(path: str, range_: Any, words: str) -> None:
    found = faults(space={path: range_})
    assert any(words in fault for fault in found), found
    assert all(fault.startswith(f"here: space: {path}") for fault in found)


def test_a_path_inside_another_searched_one_is_refused() -> None:
    space = {
        "mixture": Categorical(choices=({"share": 0.1, "hold": "compute"}, {"share": 0.2, "hold": "compute"})),
        "mixture.share": Float(low=0.1, high=0.5),
    }
    found = faults(recipe=contrastive(), space=space)
    assert [fault for fault in found if "lies in mixture" in fault]


def test_objectives_must_be_measured_and_listed_once() -> None:
    found = faults(objectives=(Objective(metric="perplexty", direction="minimize"), REASONING, REASONING))
    assert any("did you mean 'perplexity'" in fault for fault in found)
    assert any("listed twice" in fault for fault in found)


def test_a_suite_whose_score_cannot_be_divided_is_refused_before_anything_is_trained() -> None:
    def judged_by(metric: str) -> list[str]:
        tasks = LmEvalTasks(name="outside", group="reasoning", tasks=("places",), limit=None, metric=metric)
        return faults(recipe=edit(tiny(), {"evaluation.suites": [*map(dump, tiny().evaluation.suites), dump(tasks)]}))

    assert judged_by("acc_norm") == []
    (found,) = judged_by("f1")
    assert "outside is judged by f1" in found
    assert "name one of acc, acc_norm" in found


def test_studies_with_several_objectives_say_that_they_cannot_prune() -> None:
    found = faults(objectives=(PERPLEXITY, REASONING), replicates=PAIR, pruner=ClearlyWorse(margin=1.0, after=1))
    assert len(found) == 1
    assert "a study with 2 objectives cannot prune" in found[0]


def test_pruning_that_can_never_happen_is_refused() -> None:
    assert "compares replicates, and there is one" in faults(pruner=ClearlyWorse(margin=1.0, after=1))[0]
    assert "nothing is ever stopped" in faults(pruner=ClearlyWorse(margin=1.0, after=2), replicates=PAIR)[0]
    assert "cannot be reached" in faults(pruner=Wilcoxon(p=0.1, after=1), replicates=PAIR)[0]


def test_fresh_replicates_share_no_seed_with_the_search() -> None:
    fresh = (Replicate(train_seed=1, generation_seed=8), Replicate(train_seed=9, generation_seed=9))
    assert faults(fresh=fresh) == [
        "here: fresh: train_seed 1 is searched with as well, so it is not fresh; give other seeds"
    ]


def test_tasks_too_small_to_be_divided_are_refused() -> None:
    suite = tiny().evaluation.suites[0].model_copy(update={"items_per_task": 7})
    recipe = tiny().model_copy(update={"evaluation": tiny().evaluation.model_copy(update={"suites": (suite,)})})
    assert any("must be at least 8" in fault for fault in faults(recipe=recipe))
    tasks = LmEvalTasks(name="outside", group="reasoning", tasks=("places",), limit=7)
    recipe = edit(tiny(), {"evaluation.suites": [*map(dump, tiny().evaluation.suites), dump(tasks)]})
    (fault,) = faults(recipe=recipe)
    assert "limit=7 of outside must be at least 8" in fault


def test_all_faults_of_a_design_are_told_together() -> None:
    found = faults(
        space={"a.b": Float(low=1.0, high=0.0)},
        objectives=(Objective(metric="nothing", direction="maximize"),),
        pruner=ClearlyWorse(margin=1.0, after=1),
    )
    assert len(found) == 4
