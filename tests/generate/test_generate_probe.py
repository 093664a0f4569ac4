"""Before the first word: an arm that is none, a BAD that is none, a disk that is too small."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ablab.errors import RunError
from ablab.generate import disk
from ablab.generate.stage import generate
from ablab.store.context import StageContext

Contexts = Callable[..., StageContext]
Params = Callable[..., dict[str, Any]]


def nothing_was_sampled(ctx: StageContext) -> bool:
    return not (ctx.work / "shards").exists() and not list(ctx.out.iterdir())


def test_the_probe_says_how_far_an_arm_is_from_simpler_ones(context: Contexts, params: Params) -> None:
    contrastive = generate(context(params(), "contrastive"))["probe"]
    masked = generate(context(params(strength=0.0, bad=None), "masked"))["probe"]
    ancestral = generate(context(params(strength=0.0, alpha=0.0, bad=None), "ancestral"))["probe"]
    assert 0 < contrastive["from_masked"] < 1
    assert 0 < masked["from_good"] < contrastive["from_good"] < 1
    assert 0 < contrastive["good_from_bad"] < 1
    assert masked["from_masked"] is masked["good_from_bad"] is None
    assert ancestral == {"from_good": 0.0, "from_masked": None, "good_from_bad": None}


def test_a_bad_that_is_good_is_an_error_before_anything_is_sampled(
    context: Contexts, params: Params, inputs: dict[str, Path], tmp_path: Path
) -> None:
    good = tmp_path / "good-twice"
    shutil.copytree(inputs["good"], good)
    shutil.rmtree(good / "checkpoints/step-00000005")
    shutil.copytree(good / "checkpoints/step-00000010", good / "checkpoints/step-00000005")
    ctx = context(params(), good=good)
    with pytest.raises(RunError, match=r"BAD's distribution is GOOD's .* so there is no contrast\ndeclare another BAD"):
        generate(ctx)
    assert nothing_was_sampled(ctx)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strength": 1e-9}, "decoding.strength=1e-09 changes nothing"),
        ({"alpha": 1.0}, "decoding.strength=1.0 changes nothing"),
        ({"strength": 0.0, "bad": None, "alpha": 1e-30}, "the decoding changes nothing: alpha=1e-30"),
        ({"strength": 0.0, "bad": None, "alpha": 0.0, "top_k": 259}, "the decoding changes nothing: .*top_k=259"),
    ],
)
def test_an_arm_that_is_a_simpler_one_is_an_error(
    changes: dict[str, Any], message: str, context: Contexts, params: Params
) -> None:
    ctx = context(params(**changes))
    with pytest.raises(RunError, match=message):
        generate(ctx)
    assert nothing_was_sampled(ctx)


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_a_corpus_that_does_not_fit_on_the_disk_is_refused_before_anything_is_sampled(
    context: Contexts, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = 10 * 12 * 2 + 10 * 20 * (2 + disk.TEXT_BYTES)  # shards, then sequences and text
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - needed + 1, needed - 1))
    ctx = context(params())
    with pytest.raises(RunError, match=r"the corpus needs about 0.00 GB \(10 sequences of 8 \+ 12 tokens\)"):
        generate(ctx)
    assert nothing_was_sampled(ctx)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - needed, needed))
    generate(context(params()))
