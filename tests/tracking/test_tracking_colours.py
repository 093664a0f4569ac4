"""Arms are told apart by colour on MLflow's pages."""

from __future__ import annotations

import pytest
from tiny_helper import ROOT

from ablab.registry.declarations import load_declarations
from ablab.tracking.colours import PALETTE, group_colour, group_id, group_key

NAMES = ("bad-model", "contrastive-vs-masked", "mixing-ratio", "truncation")
FEW = 8  # more than that have no colours of their own anywhere


def test_the_colour_of_a_group_is_that_of_mlflows_page() -> None:
    """As seen on the page of MLflow 3.17: two arms of the shipped ablation in one red."""
    assert group_colour("param.arm.masked-only") == group_colour("param.arm.contrastive") == "#c82d4c"


@pytest.mark.parametrize("name", NAMES)
def test_of_few_arms_no_two_are_drawn_alike(name: str) -> None:
    for design in load_declarations(ROOT).find(name).ablation.designs.values():
        arms = design.arm_names()
        if len(arms) > FEW:
            continue
        key = group_key("ablab.arm", arms)
        drawn = {group_colour(group_id(key, arm)) for arm in arms}
        assert drawn <= set(PALETTE)
        assert len(drawn) == len(arms)


def test_the_key_follows_from_the_arms_alone_and_is_the_plain_one_where_nothing_is_to_be_told_apart() -> None:
    assert group_key("ablab.arm", ["real-only"]) == "ablab.arm"
    assert group_key("ablab.arm", ["a", "b"]) == group_key("ablab.arm", ["b", "a"])
