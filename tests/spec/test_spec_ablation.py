"""Law 6: the arms of a claim differ in its factor and in nothing else."""

from __future__ import annotations

import pytest
from recipes_helper import CONTRASTIVE

from ablab.errors import InputError
from ablab.spec import Arm, Claim, Design, Replicate
from ablab.spec.ablation import claim_faults, design_faults
from experiments.scales import tiny

CLAIM = Claim(
    id="c",
    statement="s",
    factor="synthetic.decoding.strength",
    metric="reasoning",
    arm="contrastive",
    against="masked-only",
    direction="greater",
    margin=0.0,
)


def design(**changes: object) -> Design:
    values: dict[str, object] = {
        "control": "real-only",
        "recipe": tiny(),
        "arms": (
            Arm(name="contrastive", edits={"synthetic": CONTRASTIVE, "mixture.share": 0.3}),
            Arm(
                name="masked-only",
                of="contrastive",
                edits={"synthetic.decoding.strength": 0.0, "synthetic.bad": None},
            ),
            Arm(name="ancestral", of="masked-only", edits={"synthetic.decoding.alpha": 0.0}),
        ),
        "replicates": (Replicate(train_seed=42, generation_seed=1), Replicate(train_seed=43, generation_seed=2)),
        "claims": (CLAIM,),
    }
    return Design(**{**values, **changes})  # type: ignore[arg-type]


def claim(**changes: object) -> Claim:
    return CLAIM.model_copy(update=changes)


def test_strength_is_the_only_factor_between_contrastive_and_masked_only() -> None:
    assert design_faults(design(), "d") == []


def test_share_is_the_only_factor_between_a_mixture_and_real_text() -> None:
    share = claim(factor="mixture.share", against="real-only")
    assert claim_faults(share, design()) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"against": "ancestral"}, "synthetic.decoding.alpha"),
        ({"factor": "synthetic.decoding.alpha"}, "must differ in factor=synthetic.decoding.alpha alone"),
        ({"against": "contrastive"}, "same computation"),
        ({"arm": "contrastiv"}, "did you mean 'contrastive'"),
        ({"metric": "reasonin"}, "did you mean 'reasoning'"),
        ({"factor": "synthetic"}, "name the leaf that differs: synthetic.bad, synthetic.decoding.strength"),
        ({"factor": "synthetic.decoding"}, "name the leaf that differs"),
    ],
)
def test_a_claim_that_cannot_be_tested_is_a_fault(changes: dict[str, object], expected: str) -> None:
    found = claim_faults(claim(**changes), design())
    assert any(expected in fault for fault in found), found


@pytest.mark.parametrize("edits", [{}, {"synthetic.decoding.strength": 0.0}])
def test_arms_with_other_seeds_cannot_carry_a_claim(edits: dict[str, object]) -> None:
    again = Arm(name="again", of="contrastive", edits=edits, seed_offset=1_000)
    found = claim_faults(claim(against="again"), design(arms=(*design().arms, again)))
    assert len(found) == 1
    assert "have other seeds, so they cannot be paired" in found[0]


def test_a_variant_that_one_arm_lacks_or_has_in_another_kind_is_a_factor() -> None:
    whole = claim(factor="synthetic", against="real-only")
    assert claim_faults(whole, design()) == []
    declared = Arm(name="declared", edits={"evaluation.selection": {"kind": "at-step", "step": 10}})
    kind = claim(factor="evaluation.selection", arm="declared", against="real-only")
    assert claim_faults(kind, design(arms=(*design().arms, declared))) == []


def test_arms_with_one_name_or_an_unknown_base_are_faults() -> None:
    twice = design(arms=(Arm(name="a", edits={}), Arm(name="a", edits={})), claims=())
    assert any("two arms are named 'a'" in fault for fault in design_faults(twice, "d"))
    lost = design(arms=(Arm(name="a", edits={}, of="b"),), claims=())
    assert any("no earlier arm" in fault for fault in design_faults(lost, "d"))


def test_faults_of_several_arms_are_reported_together() -> None:
    arms = (Arm(name="a", edits={"mixture.shar": 1}), Arm(name="b", edits={"schedule.steps": 0}))
    found = design_faults(design(arms=arms, claims=()), "d")
    assert any("arm a" in fault for fault in found)
    assert any("arm b" in fault for fault in found)


def test_an_arm_made_from_a_faulty_one_is_not_blamed() -> None:
    arms = (
        Arm(name="a", edits={"mixture.shar": 1}),
        Arm(name="b", of="a", edits={}),
        Arm(name="c", of="b", edits={}),
    )
    found = design_faults(design(arms=arms, claims=()), "d")
    assert len(found) == 1
    assert "arm a: mixture.shar" in found[0]


def test_arms_with_another_tokenizer_are_refused() -> None:
    other = design(arms=(Arm(name="a", edits={"tokenizer.vocab_size": 300}),), claims=())
    assert any("tokenizer" in fault for fault in design_faults(other, "d"))


def test_an_a_a_arm_has_other_seeds_and_the_same_recipe() -> None:
    a_a = design(arms=(Arm(name="again", edits={}, seed_offset=1_000),), claims=())
    assert a_a.recipes()["again"] == a_a.recipes()["real-only"]
    assert [r.train_seed for r in a_a.replicates_of("again")] == [1_042, 1_043]


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a..b", "a b"])
def test_a_name_that_is_a_path_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        Arm(name=name, edits={})


def test_an_unknown_scale_names_the_known_ones() -> None:
    from ablab.spec import Ablation

    ablation = Ablation(name="x", version=1, question="q", designs={"smoke": design()})
    with pytest.raises(InputError, match="did you mean 'smoke'"):
        ablation.design("smok")


def test_set_edits_every_arm_and_leaves_what_an_arm_edits_itself() -> None:
    edited = design().edited({"schedule.steps": 40, "synthetic.tokens": 500, "synthetic.decoding.alpha": 0.3}).recipes()
    assert {recipe.schedule.steps for recipe in edited.values()} == {40}
    synthetic = {name: recipe.synthetic for name, recipe in edited.items() if recipe.synthetic is not None}
    assert {one.tokens for one in synthetic.values()} == {500}
    assert {name: one.decoding.alpha for name, one in synthetic.items()} == {
        "contrastive": 0.3,
        "masked-only": 0.3,
        "ancestral": 0.0,
    }


def test_set_of_a_path_that_no_arm_has_is_refused() -> None:
    with pytest.raises(InputError, match=r"did you mean 'synthetic\.tokens'"):
        design().edited({"synthetic.token": 500})


def test_every_fault_of_set_is_reported_together() -> None:
    edits = {"schedule.steps": 0, "schedule.stepz": 1, "synthetic.token": 500, "synthetic.tokens": 0}
    with pytest.raises(InputError) as caught:
        design().edited({path: edits[path] for path in ("schedule.steps", "schedule.stepz", "synthetic.token")})
    assert len(caught.value.faults) == 3
    with pytest.raises(InputError) as caught:
        design().edited({path: edits[path] for path in ("schedule.steps", "synthetic.tokens")})
    assert len(caught.value.faults) == 2
