from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_param_name

from ablab.tracking.flatten import CUT_TAG, fit_metrics, fit_params, fit_tags, leaves, numbers, safe_name


@given(st.text(max_size=300))
def test_every_name_becomes_one_that_mlflow_accepts(name: str) -> None:
    safe = safe_name(name)
    _validate_param_name(safe)
    assert 1 <= len(safe) <= 250


@given(st.lists(st.text("ab/@.", max_size=4), unique=True, max_size=30))
def test_different_names_stay_different(names: list[str]) -> None:
    assert len({safe_name(name) for name in names}) == len(names)


def test_an_acceptable_name_is_kept() -> None:
    assert safe_name("suites/qa_congruence/score") == "suites/qa_congruence/score"


def test_a_parameter_that_is_too_long_is_cut_and_named_in_a_tag() -> None:
    params, changed = fit_params({"short": "x", "long": "y" * 7_000, "at@sign": "z"})
    assert len(params["long"]) == 6_000
    assert fit_tags({"a": "b"}, changed) == {"a": "b", CUT_TAG: "long, at@sign"}
    assert "at@sign" not in params


def test_tags_without_cuts_have_no_cut_tag() -> None:
    assert fit_tags({"a": "b" * 8_000}) == {"a": "b" * 8_000}


def test_metrics_that_are_not_finite_are_left_out_and_named() -> None:
    metrics, changed = fit_metrics({"perplexity": math.inf, "loss": math.nan, "score": 50.0})
    assert metrics == {"score": 50.0}
    assert changed == ["perplexity", "loss"]


def test_numbers_are_flattened_with_slashes_and_lists_left_out() -> None:
    tree = {"suites": {"blimp": {"score": 70, "group": "linguistic"}}, "steps": [1, 2], "stopped": True}
    assert dict(numbers(tree)) == {"suites/blimp/score": 70.0}


def test_leaves_are_recipe_paths_with_json_values() -> None:
    tree = {"model": {"layers": 2, "tied": False}, "splits": ["train"], "rule": "last-step", "empty": {}}
    assert dict(leaves(tree)) == {
        "model.layers": "2",
        "model.tied": "false",
        "splits": '["train"]',
        "rule": "last-step",
        "empty": "{}",
    }
