"""What a design needs, what is there, and what the rest costs."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tiny_helper import NAME, ROOT

from ablab.errors import InputError
from ablab.models.size import model_size
from ablab.runner.estimate import Estimate, estimate, flops_per_token
from ablab.runner.plan import Plan, PlannedStage, make_plan
from ablab.runner.prepare import prepare
from ablab.settings import load_settings
from ablab.spec import Design, Replicate
from ablab.spec.placement import Numerics
from ablab.spec.recipe import Model
from ablab.spec.stages import Stage
from ablab.store import Store
from ablations.contrastive_vs_masked import ABLATION

TINY = ABLATION.design("tiny")  # two replicates, the first of which trains GOOD
SYNTHETIC_ARMS = ("ancestral", "masked-only", "contrastive")


def plan_of(store: Store, design: Design = TINY) -> Plan:
    return make_plan(design, design.recipes(), store, Numerics())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def plan(store: Store) -> Plan:
    return plan_of(store)


def complete(store: Store, *stages: PlannedStage) -> None:
    """Put stages into the store; a plan looks at nothing but that they are there."""
    for planned in stages:
        attempt = store.begin(planned.stage.kind, planned.key, Numerics())
        assert attempt is not None
        store.commit(attempt, planned.stage.identity, {}, {})


def of(plan: Plan, arm: str, role: str, replicate: int = 0) -> PlannedStage:
    return plan.stages[plan.arms[arm][replicate].roles[role].key]


def test_arms_and_replicates_share_what_is_equal(plan: Plan) -> None:
    synthetic = 3 * 2  # arms with synthetic text x replicates
    trainings = 2 + synthetic  # GOOD is the real-only run of the first replicate
    assert Counter(p.stage.kind for p in plan.stages.values()) == {
        "corpus": 1,
        "tokenizer": 1,
        "suite": 1,
        "requests": 1,
        "floor": 1,
        "train": trainings,
        "select": trainings + 1,  # and BAD
        "evaluate": trainings + 1,
        "manipulation": 1,  # all arms of both replicates draw from one GOOD
        "generate": synthetic,
        "describe": 1 + synthetic,
        "tokens": 1 + synthetic,
    }
    # real-only has 10 stages. With synthetic text come GOOD's training, selection and scores, the check between arms,
    # the generated text, its description and tokens, and in contrastive BAD's selection and scores.
    assert plan.stages_apart() == 2 * (10 + 17 + 17 + 19)


def test_an_arm_that_is_repeated_with_the_same_seeds_adds_nothing(store: Store, plan: Plan) -> None:
    same = TINY.model_copy(update={"replicates": (*TINY.replicates, TINY.replicates[0])})
    assert set(plan_of(store, same).stages) == set(plan.stages)
    other = TINY.model_copy(update={"replicates": (*TINY.replicates, Replicate(train_seed=7, generation_seed=7))})
    assert len(plan_of(store, other).stages) == len(plan.stages) + 3 + 3 * 6


def test_one_selection_of_good_serves_every_arm(plan: Plan) -> None:
    selections = {of(plan, arm, "good_select", r).key for arm in SYNTHETIC_ARMS for r in (0, 1)}
    assert selections == {of(plan, "real-only", "select").key}, "GOOD is the control's first run, chosen by one rule"
    select = of(plan, "real-only", "select")
    assert {(use.arm, use.role) for use in select.uses} == {
        ("real-only", "select"),
        *((arm, "good_select") for arm in SYNTHETIC_ARMS),
    }
    assert Counter(child.stage.kind for child in select.children) == {"evaluate": 1, "manipulation": 1, "generate": 6}


def test_inputs_stand_before_what_uses_them(plan: Plan) -> None:
    seen: set[str] = set()
    for key, planned in plan.stages.items():
        assert {stage.key for stage in planned.stage.inputs.values()} <= seen
        seen.add(key)


def test_in_an_empty_store_everything_is_new_and_says_what_it_waits_for(plan: Plan) -> None:
    assert {p.state for p in plan.stages.values()} == {"new"}
    assert of(plan, "real-only", "corpus").why == "not in the store"
    assert of(plan, "real-only", "tokens").why == "needs corpus, tokenizer first"


def test_only_what_results_need_is_computed(store: Store, plan: Plan) -> None:
    results = [p for p in plan.stages.values() if p.stage.kind in ("evaluate", "floor", "describe")]
    complete(store, *results)
    states = {p.key: p.state for p in plan_of(store).stages.values()}
    assert {states[p.key] for p in results} == {"cached"}
    assert {state for key, state in states.items() if key not in {p.key for p in results}} == {"unneeded"}
    assert list(plan_of(store).todo()) == []


def test_a_missing_result_calls_for_its_inputs_and_for_nothing_else(store: Store, plan: Plan) -> None:
    gone = of(plan, "ancestral", "evaluate", 1)
    complete(store, *(p for p in plan.stages.values() if p.stage.kind in ("evaluate", "floor") and p is not gone))
    complete(store, *(p for p in plan.stages.values() if p.stage.kind in ("describe", "corpus", "suite")))
    again = plan_of(store)
    needed = {stage.key for stage in gone.stage.walk() if stage.kind not in ("corpus", "suite")}
    between_arms = of(again, "ancestral", "manipulation")
    assert {p.key for p in again.todo()} == needed | {between_arms.key}
    assert of(again, "contrastive", "train").state == "unneeded"
    assert of(again, "contrastive", "train").why == "absent, and everything that used it is in the store"
    assert of(again, "real-only", "corpus").state == "cached"


def test_corpora_are_begun_after_the_check_between_arms_which_is_called_for_by_nothing_else(
    store: Store, plan: Plan
) -> None:
    between_arms = of(plan, "contrastive", "manipulation")
    assert {of(plan, arm, "generate", r).key for arm in SYNTHETIC_ARMS for r in (0, 1)} == {
        key for key, planned in plan.stages.items() if planned.after == {between_arms.key}
    }
    complete(store, *(planned for planned in plan.stages.values() if planned.stage.kind != "manipulation"))
    assert list(plan_of(store).todo()) == []
    assert of(plan_of(store), "contrastive", "manipulation").state == "unneeded"


def test_points_of_a_study_need_not_differ(store: Store) -> None:
    plan = make_plan(TINY, TINY.recipes(), store, Numerics(), between_arms=False)
    kinds = [planned.stage.kind for planned in plan.stages.values()]
    assert "manipulation" not in kinds and "generate" in kinds
    assert not any(planned.after for planned in plan.stages.values() if planned.stage.kind == "generate")


def test_no_training_is_begun_before_it_is_known_that_its_model_can_read_every_item(plan: Plan) -> None:
    trainings = [planned for planned in plan.stages.values() if planned.stage.kind == "train"]
    assert len(trainings) > 4
    assert all(planned.after == {of(plan, "real-only", "requests").key} for planned in trainings)


def test_interrupted_work_makes_a_stage_resumable(store: Store, plan: Plan) -> None:
    train = of(plan, "real-only", "train")
    attempt = store.begin("train", train.key, Numerics())
    assert attempt is not None
    (attempt.work / "resume" / "step-00000005").mkdir(parents=True)
    store.discard(attempt)
    again = of(plan_of(store), "real-only", "train")
    assert (again.state, again.why) == ("resumable", "an interrupted run left work to go on from")
    assert again.key in {p.key for p in plan_of(store).todo()}


def test_demanding_a_stage_again_marks_what_was_removed_and_nothing_twice(store: Store, plan: Plan) -> None:
    complete(store, *plan.stages.values())
    full = plan_of(store)
    assert {p.state for p in full.stages.values()} == {"cached"}
    train = of(full, "real-only", "train")
    store.directory("train", train.key).rename(store.root / "gone")
    train.state = "unneeded"
    assert full.demand(train.key, store) == [train]
    assert full.demand(train.key, store) == []
    assert list(full.todo()) == [train]


def test_the_plan_as_json_holds_states_uses_and_costs(store: Store, plan: Plan) -> None:
    complete(store, of(plan, "real-only", "corpus"))
    made = plan_of(store)
    read = json.loads(json.dumps(made.to_json()))
    assert [stage["key"] for stage in read["stages"]] == list(made.stages)
    corpus = next(stage for stage in read["stages"] if stage["kind"] == "corpus")
    assert (corpus["state"], corpus["why"]) == ("cached", "in the store")
    assert {"arm": "ancestral", "replicate": 1, "role": "corpus"} in corpus["uses"]
    todo = [stage["estimate"] for stage in read["stages"] if stage["state"] == "new"]
    assert read["totals"]["stages"] == len(todo) == len(made.stages) - 1
    for quantity in ("tokens", "flops", "bytes"):
        assert read["totals"][quantity] == pytest.approx(sum(cost[quantity] for cost in todo))
    assert read["totals"]["hours"] == pytest.approx(sum(cost["seconds"] for cost in todo) / 3600)
    assert read["stages_apart"] == made.stages_apart()


def test_operations_of_a_small_training_by_hand(plan: Plan) -> None:
    """2 layers, hidden 32, feed-forward 64, context 64, vocabulary 384; 20 steps of 256 tokens, 4 validations."""
    attention, feed_forward, norms = 4 * 32 * 32, 3 * 32 * 64, 2 * 32
    multiplied = 2 * (attention + feed_forward + norms) + 32 + 384 * 32
    assert multiplied == 32_928
    per_token = 6 * 32_928 + 12 * 2 * 32 * 64
    train = of(plan, "real-only", "train")
    assert flops_per_token(train.stage.params["model"], 384) == per_token == 246_720
    assert train.estimate.tokens == 20 * 256
    assert train.estimate.flops == 20 * 256 * 246_720 + 4 * 1_024 * 246_720 / 3


def test_storage_of_a_training_is_its_checkpoints(plan: Plan) -> None:
    """Of real text every checkpoint is kept, of a mixture the best and the last; four bytes a parameter."""
    count = 2 * (4 * 32 * 32 + 3 * 32 * 64 + 2 * 32) + 32 + 2 * 384 * 32
    train = of(plan, "real-only", "train")
    assert count == model_size(Model.model_validate(train.stage.params["model"]), 384).total
    assert train.estimate.bytes == 4 * 4 * count
    assert of(plan, "ancestral", "train").estimate.bytes == 2 * 4 * count


def test_generation_costs_a_forward_pass_of_every_model_that_takes_part(plan: Plan) -> None:
    """2,000 tokens, 56 new ones behind every 8 of prompt."""
    alone, contrasted = of(plan, "masked-only", "generate").estimate, of(plan, "contrastive", "generate").estimate
    assert alone.tokens == contrasted.tokens == 2_000
    assert alone.flops == pytest.approx(2_000 * 64 / 56 * 246_720 / 3)
    assert contrasted.flops == pytest.approx(2 * alone.flops)


def test_more_threads_take_less_time_and_change_no_other_cost() -> None:
    paper = ABLATION.design("paper")
    one, four = (
        make_plan(paper, paper.recipes(), Store(Path("nowhere")), Numerics(threads=threads)).totals()
        for threads in (1, 4)
    )
    assert four["hours"] < one["hours"] / 3
    assert {name: one[name] for name in one if name != "hours"} == {name: four[name] for name in one if name != "hours"}


def test_an_evaluation_costs_what_its_perplexity_costs(plan: Plan) -> None:
    evaluate = of(plan, "real-only", "evaluate")
    cost = estimate(evaluate.stage, Numerics())
    assert (cost.tokens, cost.flops) == (1_024, 1_024 * 246_720 / 3)


def test_a_training_until_a_step_costs_that_step_or_at_most_the_whole_schedule(plan: Plan) -> None:
    good = of(plan, "real-only", "train").stage
    whole = estimate(good, Numerics())

    def until(rule: dict[str, Any]) -> Estimate:
        selected = Stage("select", {"rule": rule}, {"train": good})
        return estimate(Stage("train", good.params, {**good.inputs, "until": selected}), Numerics())

    known = until({"kind": "at-step", "step": 10})
    assert known.tokens == 10 * 256
    assert known.flops == 10 * 256 * 246_720 + 2 * 1_024 * 246_720 / 3
    for rule in ("lowest-validation-loss", "last-step"):
        assert (until({"kind": rule}).tokens, until({"kind": rule}).flops) == (whole.tokens, whole.flops)
        assert until({"kind": rule}).bytes == known.bytes == whole.bytes / 4, "one checkpoint of four"


def test_declared_checkpoints_of_a_mixture_take_space(plan: Plan) -> None:
    mixed = of(plan, "ancestral", "train")
    keeping = Stage("train", {**mixed.stage.params, "keep": [5]}, mixed.stage.inputs)
    assert estimate(keeping, Numerics()).bytes == mixed.estimate.bytes / 2 * 3


def test_numerics_that_no_training_can_have_are_told_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ABLAB_HOME", str(tmp_path / "home"))
    numerics = {"ranks": 3, "zero_stage": 0}
    with pytest.raises(InputError) as caught:
        prepare(load_settings(ROOT), NAME, "tiny", {"precision": "bf16"}, numerics=numerics, purpose="plan")
    assert [fault.partition(" ")[0] for fault in caught.value.faults] == ["numerics.ranks=3", "numerics.zero_stage=0"]
    assert "must divide the 4 blocks of a step" in caught.value.faults[0]
    assert not (tmp_path / "home" / "store").exists()
