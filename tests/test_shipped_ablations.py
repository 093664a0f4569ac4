"""The declarations of this repository: valid at every scale, sharing stages, and covering the study's findings."""

from __future__ import annotations

import re

import pytest
from tiny_helper import ROOT

from ablab.registry.declarations import load_declarations
from ablab.spec import Ablation, lower
from ablab.spec.ablation import design_faults
from experiments.scales import smoke

NAMES = ("bad-model", "contrastive-vs-masked", "mixing-ratio", "truncation")


@pytest.fixture(scope="module")
def shipped() -> dict[str, Ablation]:
    return {name: load_declarations(ROOT).find(name).ablation for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", ["smoke", "small", "paper"])
def test_every_design_is_sound_and_shows_the_noise(shipped: dict[str, Ablation], name: str, scale: str) -> None:
    design = shipped[name].designs[scale]
    assert design_faults(design, name) == []
    assert len(design.replicates) >= 2
    assert design.claims
    assert [arm.name for arm in design.arms if arm.seed_offset] == ["real-only-again"]
    if scale == "smoke":
        assert len(design.arms) - 1 <= 4


def test_every_finding_of_the_study_is_a_claim(shipped: dict[str, Ablation]) -> None:
    statements = [claim.statement for one in shipped.values() for claim in one.designs["paper"].claims]
    named = {digit for words in statements for found in re.findall(r"findings? ([\d and]+)", words) for digit in found}
    assert named >= set("123456")


def test_the_sweep_of_ratios_needs_one_synthetic_corpus_per_generation_seed(shipped: dict[str, Ablation]) -> None:
    design = shipped["mixing-ratio"].designs["smoke"]
    made = {
        lower(recipe, replicate).roles["generate"].key
        for name, recipe in design.recipes().items()
        if recipe.mixture.share > 0.0
        for replicate in design.replicates_of(name)
    }
    assert len(made) == len(design.replicates)


def test_equal_arms_of_different_ablations_are_equal_stages(shipped: dict[str, Ablation]) -> None:
    arms = [
        ("contrastive-vs-masked", "contrastive"),
        ("mixing-ratio", "share-0.3"),
        ("truncation", "contrastive"),
        ("bad-model", "early-100"),
    ]
    found = set()
    for name, arm in arms:
        design = shipped[name].designs["smoke"]
        found.add(lower(design.recipes()[arm], design.replicates[0]).roles["evaluate"].key)
    assert len(found) == 1
    controls = {
        lower(one.designs["smoke"].recipe, one.designs["smoke"].replicates[0]).roles["evaluate"].key
        for one in shipped.values()
    }
    assert controls == {lower(smoke(), shipped["truncation"].designs["smoke"].replicates[0]).roles["evaluate"].key}
