"""Law 1: the same recipe has the same key everywhere; what is not identity never changes a key."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field
from recipes_helper import contrastive

from ablab.errors import InputError
from ablab.spec import KINDS, BabyLMSource, BabyLMSuite, Recipe, Replicate, Stage, edit, lower
from ablab.spec.base import EXECUTION, INERT, Spec
from ablab.spec.canonical import canonical_json, digest, plain
from ablab.spec.edit import dump
from ablab.spec.lower import SPLITS
from experiments.scales import paper, small, smoke, tiny

REPLICATE = Replicate(train_seed=42, generation_seed=1)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def keys(recipe: Recipe, replicate: Replicate = REPLICATE) -> dict[str, str]:
    return {role: stage.key for role, stage in lower(recipe, replicate).roles.items()}


@given(json_values)
def test_canonical_text_reads_back_as_the_same_value(value: object) -> None:
    assert plain(json.loads(canonical_json(value))) == plain(value)


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_order_of_keys_never_changes_a_digest(value: dict[str, object]) -> None:
    assert digest(value) == digest(dict(reversed(value.items())))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"x", print, {1: 2}, object()])
def test_what_has_no_stable_form_is_refused(value: object) -> None:
    with pytest.raises(InputError):
        digest({"field": value})


def test_integral_floats_and_integers_are_told_apart_and_negative_zero_is_zero() -> None:
    assert canonical_json([1.0, 1, -0.0, 1e-3]) == "[1.0,1,0.0,0.001]"


def test_golden_keys_of_the_tiny_recipe() -> None:
    """A change here means that every stored result of every user loses its address. Bump a revision instead."""
    golden = {
        "corpus": "3c82529457aedef45d7f230567386e7e1031c68f3fd2a82b3d805319d5cd2d9f",
        "train": "9e14e40dc3b84895fd7de451f71996a3629fb8c3428bf193c11e26cd4f3e594b",
        "generate": "c9cf08aa62250b2a7a583e7845b2cdebb29bdd1c1f38c51cb82957df4d68b3f3",
        "evaluate": "4ebbda2895ab887ce01b9804ddbb5e667620bbd07f970de9992f0a3a9ed8570b",
    }
    found = keys(contrastive())
    assert {role: found[role] for role in golden} == golden


def test_keys_do_not_depend_on_the_hash_seed_of_python() -> None:
    code = (
        "from experiments.scales import smoke; from ablab.spec import lower, Replicate;"
        "print(lower(smoke(), Replicate(train_seed=1, generation_seed=1)).roles['evaluate'].key)"
    )
    root = Path(__file__).parents[2]
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=root,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert len(seen) == 1


def test_a_new_field_at_its_inert_default_leaves_old_keys_alone() -> None:
    class Old(Spec):
        rate: float

    class New(Spec):
        rate: float
        clip: float | None = Field(default=None, json_schema_extra=INERT)

    assert digest(Old(rate=1.0).canonical()) == digest(New(rate=1.0).canonical())
    assert digest(New(rate=1.0, clip=2.0).canonical()) != digest(New(rate=1.0).canonical())


def test_execution_fields_never_change_a_key() -> None:
    class Located(Spec):
        digest: str
        path: Annotated[str, Field(json_schema_extra=EXECUTION)]

    assert Located(digest="d", path="/a").canonical() == Located(digest="d", path="/b").canonical()


def resolved_small(path: str, word_budget: int | None) -> Recipe:
    """The small recipe with digests as resolving fills them in, on other paths and with another budget."""
    recipe = small()
    sources = [
        source.model_copy(update={"path": path, "digests": {s: digest([source.name, s]) for s in SPLITS}})
        for source in recipe.corpus.sources
        if isinstance(source, BabyLMSource)
    ]
    suites = [
        suite.model_copy(update={"path": path, "digests": {"a.jsonl": digest(suite.name)}})
        for suite in recipe.evaluation.suites
        if isinstance(suite, BabyLMSuite)
    ]
    return edit(
        recipe,
        {
            "corpus.sources": [dump(source) for source in sources],
            "corpus.word_budget": word_budget,
            "evaluation.suites": [dump(suite) for suite in suites],
        },
    )


def test_where_files_lie_and_what_they_may_hold_never_change_a_key() -> None:
    here, there = resolved_small("corpora/here", 100_000_000), resolved_small("/elsewhere", None)
    assert keys(here) == keys(there)
    assert lower(here, REPLICATE).roles["corpus"].locations != lower(there, REPLICATE).roles["corpus"].locations


def test_what_a_file_holds_changes_every_key_but_that_of_the_suite() -> None:
    recipe = resolved_small("corpora/here", None)
    source, *others = (dump(source) for source in recipe.corpus.sources)
    other = edit(recipe, {"corpus.sources": [{**source, "digests": {**source["digests"], "train": "0" * 64}}, *others]})
    changed = {role for role, key in keys(other).items() if key != keys(recipe)[role]}
    assert changed == set(keys(recipe)) - {"suite"}


def test_share_zero_drops_generation_and_equals_real_only() -> None:
    assert keys(edit(contrastive(), {"mixture.share": 0.0})) == keys(tiny())


def test_strength_zero_drops_bad_and_equals_masked_only() -> None:
    silent_bad = edit(contrastive(), {"synthetic.decoding.strength": 0.0, "synthetic.decoding.bad_temperature": 2.0})
    masked = edit(silent_bad, {"synthetic.bad": None, "synthetic.decoding.bad_temperature": 1.0})
    assert keys(silent_bad) == keys(masked)
    assert "bad_evaluate" not in keys(masked)


def test_filters_that_filter_nothing_are_off() -> None:
    open_filters = {"synthetic.decoding.top_k": 384, "synthetic.decoding.top_p": 1.0}
    assert keys(edit(contrastive(), open_filters)) == keys(contrastive())


def test_generation_seed_changes_generation_but_not_good() -> None:
    one, other = keys(contrastive()), keys(contrastive(), Replicate(train_seed=42, generation_seed=2))
    assert one["good_train"] == other["good_train"]
    assert one["generate"] != other["generate"]
    assert one["train"] != other["train"]


def test_good_run_is_the_real_only_arm_with_the_same_seed() -> None:
    assert keys(contrastive())["good_train"] == keys(tiny())["train"]


def test_evaluation_does_not_change_what_is_trained() -> None:
    other = edit(contrastive(), {"evaluation.test_tokens": 512})
    assert keys(other)["train"] == keys(contrastive())["train"]
    assert keys(other)["evaluate"] != keys(contrastive())["evaluate"]


def test_a_bumped_revision_changes_the_key_and_those_above_it() -> None:
    corpus = Stage("corpus", {"a": 1})
    above = Stage("tokenizer", {}, {"corpus": corpus})
    assert corpus.identity["revision"] == KINDS["corpus"].revision
    changed = {**corpus.identity, "revision": 99}
    assert digest(changed) != corpus.key
    assert above.identity["inputs"] == {"corpus": corpus.key}


@pytest.mark.parametrize("recipe", [tiny(), smoke(), paper()])
def test_walk_lists_inputs_first_and_each_stage_once(recipe: Recipe) -> None:
    seen: list[str] = []
    for stage in lower(recipe, REPLICATE).stages():
        assert all(source.key in seen for source in stage.inputs.values())
        seen.append(stage.key)
    assert len(seen) == len(set(seen))
