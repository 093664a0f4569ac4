"""Decodings and lengths that make no sense are refused before anything is computed, with path, value and rule."""

from __future__ import annotations

import pytest
from recipes_helper import contrastive

from ablab.errors import InputError
from ablab.spec import edit
from ablab.spec.check import recipe_faults


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("alpha", 1.5, "less than or equal to 1"),
        ("alpha", -0.1, "greater than or equal to 0"),
        ("top_k", 0, "greater than or equal to 1"),
        ("top_k", -3, "greater than or equal to 1"),
        ("top_p", 0.0, "greater than 0"),
        ("temperature", 0.0, "greater than 0"),
    ],
)
def test_a_decoding_out_of_its_range_is_refused(field: str, value: float, rule: str) -> None:
    with pytest.raises(InputError) as caught:
        edit(contrastive(), {f"synthetic.decoding.{field}": value})
    for part in (f"synthetic.decoding.{field}", str(value), rule):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("edits", "fault"),
    [
        ({"synthetic.prompts.tokens": 64}, "synthetic.prompts.tokens=64 must be less than model.context=64"),
        ({"synthetic.prompts.new_tokens": 100}, "must fit model.context=64; try new_tokens="),
    ],
)
def test_prompts_and_new_tokens_must_fit_the_context(edits: dict[str, int], fault: str) -> None:
    assert any(fault in found for found in recipe_faults(edit(contrastive(), edits)))
