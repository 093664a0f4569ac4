"""Models that are no arm, shown beside the arms by what they are."""

from __future__ import annotations

from typing import Any

from recipes_helper import CONTRASTIVE

from ablab.runner.plan import make_plan
from ablab.runner.results import reference_stages, roles_of
from ablab.spec import Arm, Design, Replicate
from ablab.spec.placement import Numerics
from ablab.store import Store
from experiments.scales import tiny

SMALL = {"layers": 1, "hidden": 16, "heads": 2, "ffn": 32}


def arm(name: str, bad: dict[str, Any], **edits: Any) -> Arm:
    return Arm(name=name, edits={"synthetic": CONTRASTIVE | {"bad": bad}, "mixture.share": 0.3} | edits)


def step(number: int) -> dict[str, Any]:
    return {"kind": "early-checkpoint", "step": number}


def references(tmp_path: Any, *arms: Arm, **edits: Any) -> dict[str, int]:
    """Number of evaluations by name."""
    replicates = (Replicate(train_seed=1, generation_seed=1), Replicate(train_seed=2, generation_seed=2))
    design = Design(control="real", recipe=tiny(), arms=arms, replicates=replicates, claims=()).edited(edits)
    plan = make_plan(design, design.recipes(), Store(tmp_path / "store"), Numerics())
    return {name: len(stages) for name, stages in reference_stages(design, roles_of(plan)).items()}


def test_every_distinct_bad_is_named_by_what_it_is_and_dropout_has_none(tmp_path: Any) -> None:
    arms = (
        arm("early", step(5)),
        arm("earlier-again", step(5), **{"mixture.share": 0.5}),
        arm("late", step(10)),
        arm("small", {"kind": "smaller-model", "size": "r100"}, sizes={"r100": SMALL}),
        arm("dropout", {"kind": "attention-dropout", "p": 0.5}),
    )
    assert references(tmp_path, *arms) == {"GOOD": 1, "BAD step 5": 1, "BAD step 10": 1, "BAD r100": 1}


def test_a_good_for_every_replicate_is_one_name_with_several_models(tmp_path: Any) -> None:
    found = references(tmp_path, arm("early", step(5)), **{"good.per_replicate": True})
    assert found == {"GOOD": 2, "BAD step 5": 2}


def test_different_models_of_one_name_are_told_apart_by_their_first_arm(tmp_path: Any) -> None:
    arms = (arm("early", step(5)), arm("other-good", step(5), **{"good.train_seed": 7}))
    found = references(tmp_path, *arms)
    assert found == {
        "GOOD (early)": 1,
        "GOOD (other-good)": 1,
        "BAD step 5 (early)": 1,
        "BAD step 5 (other-good)": 1,
    }
