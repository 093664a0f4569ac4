"""The three families of BAD through the stage: where its weights come from, laws that hold for each, faults."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ablab.errors import RunError
from ablab.generate.layout import Weights
from ablab.generate.stage import generate
from ablab.store.context import StageContext

Contexts = Callable[..., StageContext]
Params = Callable[..., dict[str, Any]]
FAMILIES: dict[str, dict[str, Any]] = {
    "early checkpoint": {"kind": "early-checkpoint", "step": 5},
    "smaller model": {"kind": "smaller-model", "size": "bad"},
    "attention dropout": {"kind": "attention-dropout", "p": 0.3},
}


def digests(ctx: StageContext) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(ctx.out.iterdir())}


@pytest.mark.parametrize("family", FAMILIES)
def test_interrupted_and_resumed_in_another_order_the_bytes_are_the_same(
    family: str, context: Contexts, params: Params, smaller: dict[str, Path]
) -> None:
    declared = params(bad=FAMILIES[family])
    undisturbed = context(declared, "undisturbed", **smaller)
    result = generate(undisturbed)
    assert 0 < result["argmax_changed"] < 1
    calls = 0

    def stop(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 20:  # in the middle of the second shard
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(context(declared, progress=stop, **smaller))
    done = context(declared, "done", **smaller)
    generate(done)
    resumed = context(declared, **smaller)
    shards = resumed.work / "shards"
    assert [path.name for path in shards.iterdir()] == ["00000000.shard"]
    # the last shard was decoded by somebody else, the first must be decoded again, behind it
    shutil.copy(done.work / "shards" / "00000002.shard", shards)
    (shards / "00000000.shard").unlink()
    assert generate(resumed) == result
    assert digests(resumed) == digests(undisturbed)


@pytest.mark.parametrize("family", FAMILIES)
def test_strength_zero_is_the_mask_alone_whatever_bad_would_be(family: str, context: Contexts, params: Params) -> None:
    """No file of BAD is read: there is none."""
    masked = context(params(strength=0.0, bad=None), "masked")
    named = context(params(strength=0.0, bad=FAMILIES[family]), "named")
    assert generate(named) == generate(masked)
    assert digests(named) == digests(masked)


def test_every_family_gives_another_corpus_from_the_same_prompts(
    context: Contexts, params: Params, smaller: dict[str, Path]
) -> None:
    found, results = [], []
    for family, bad in FAMILIES.items():
        ctx = context(params(bad=bad), family, **smaller)
        results.append(generate(ctx))
        found.append(np.fromfile(ctx.out / "sequences.bin", "<u2").reshape(-1, 20))
    assert [(result["good_step"], result["bad_step"]) for result in results] == [(10, 5), (10, 10), (10, 10)]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert np.array_equal(found[one][:, :8], found[other][:, :8])
        assert (found[one] != found[other])[:, 8:].mean() > 0.3


def test_a_dropout_that_goes_to_zero_is_a_bad_equal_to_good(context: Contexts, params: Params) -> None:
    with pytest.raises(RunError, match="BAD's distribution is GOOD's"):
        generate(context(params(bad={"kind": "attention-dropout", "p": 1e-10})))


def test_good_and_its_dropout_share_one_set_of_weights(
    context: Contexts, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    load = Weights.load

    def counted(checkpoint: Path, precision: str, device: str) -> Weights:
        loaded.append(checkpoint.name)
        return load(checkpoint, precision, device)

    monkeypatch.setattr(Weights, "load", counted)
    generate(context(params(bad=FAMILIES["attention dropout"]), "dropout"))
    assert loaded == ["step-00000010"]
    generate(context(params(), "early"))
    assert sorted(loaded[1:]) == ["step-00000005", "step-00000010"]


def test_every_fault_of_a_smaller_bad_is_named(
    context: Contexts, params: Params, smaller: dict[str, Path], checkpoint: Callable[..., None]
) -> None:
    shutil.rmtree(smaller["bad"] / "checkpoints/step-00000010")
    declared = params(bad=FAMILIES["smaller model"])
    with pytest.raises(RunError, match="BAD's step 10 has no checkpoint; there are none"):
        generate(context(declared, **smaller))
    checkpoint(smaller["bad"] / "checkpoints/step-00000010", seed=1, vocab_size=300, context=19)
    with pytest.raises(RunError) as caught:
        generate(context(declared, **smaller))
    assert "BAD's vocabulary has 300 entries, GOOD's 260" in str(caught.value)
    assert "BAD's context of 19 tokens is shorter than prompts.tokens=8 + new_tokens=12" in str(caught.value)
    assert "the tokenizer 260" not in str(caught.value)


def test_a_contrast_without_a_bad_is_refused(context: Contexts, params: Params) -> None:
    with pytest.raises(RunError, match=r"decoding.strength=1.0 needs a BAD model\ndeclare synthetic.bad"):
        generate(context(params(bad=None)))
