"""Before any corpus: how far the distributions of arms are apart, and arms of one distribution are refused."""

from __future__ import annotations

import json
import math
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

from ablab.errors import RunError
from ablab.generate import manipulation as module
from ablab.generate.layout import Weights
from ablab.generate.manipulation import manipulation
from ablab.generate.prompts import read_contexts
from ablab.generate.text import Vocabulary
from ablab.store.context import StageContext

Contexts = Callable[..., StageContext]
Params = Callable[..., dict[str, Any]]
EARLY = {"kind": "early-checkpoint", "step": 5}
SMALLER = {"kind": "smaller-model", "size": "bad"}
DROPOUT = {"kind": "attention-dropout", "p": 0.3}
ANCESTRAL: dict[str, Any] = {"bad": None, "strength": 0.0, "alpha": 0.0}
MASKED: dict[str, Any] = {"bad": None, "strength": 0.0, "alpha": 0.1}


@pytest.fixture
def check(context: Contexts, params: Params, inputs: dict[str, Path]) -> Callable[..., StageContext]:
    """Makes the context of a check of arms that differ from the contrastive one as given; `models` by number of arm."""

    def make(*arms: dict[str, Any], models: dict[int, dict[str, Path]] | None = None) -> StageContext:
        declared = [params(**changes) for changes in arms]
        found: dict[str, Path] = {}
        for number in range(len(arms)):
            own = {name: inputs[name] for name in ("good", "select")} | (models or {}).get(number, {})
            found |= {f"{name}_{number}": path for name, path in own.items()}
        distributions = [{"bad": one["bad"], "decoding": one["decoding"]} for one in declared]
        return context({"precision": "fp32", "distributions": distributions}, "check", **found)

    return make


def by_pair(result: dict[str, Any]) -> dict[tuple[int, int], dict[str, Any]]:
    return {tuple(pair["of"]): pair for pair in result["pairs"]}


def test_distances_equal_those_of_plain_transformers_and_do_not_depend_on_the_order(
    check: Callable[..., StageContext], inputs: dict[str, Path], vocabulary: Vocabulary, smaller: dict[str, Path]
) -> None:
    arms = [ANCESTRAL, MASKED, {"bad": EARLY}, {"bad": SMALLER, "top_k": 3}, {**ANCESTRAL, "temperature": 0.7}]
    result = manipulation(check(*arms, models={3: smaller}))
    plain = _plain(inputs, smaller["bad"], vocabulary)
    assert result["positions"] == len(plain[0])
    for pair in result["pairs"]:
        one, other = (plain[number] for number in pair["of"])
        variation = (one - other).abs().sum(dim=-1).mean() / 2
        assert 0.0 < pair["total_variation"] == pytest.approx(float(variation), abs=1e-5)
        for found, (p, q) in zip(pair["kl_nats"], [(one, other), (other, one)], strict=True):
            divergence = float(torch.where(p > 0, p * (p / q).log(), 0.0).sum(dim=-1).mean())
            assert found == (pytest.approx(divergence, abs=1e-4) if math.isfinite(divergence) else None)
    turned = by_pair(manipulation(check(*arms[::-1], models={1: smaller})))
    for (one, other), pair in by_pair(result).items():
        again = turned[4 - other, 4 - one]
        assert again["total_variation"] == pytest.approx(pair["total_variation"], rel=1e-12)
        assert again["kl_nats"] == [None if kl is None else pytest.approx(kl) for kl in pair["kl_nats"][::-1]]


def _plain(inputs: dict[str, Path], smaller: Path, vocabulary: Vocabulary) -> list[torch.Tensor]:
    """The five distributions [positions, V] by their definitions, in float64."""
    contexts = read_contexts(inputs["corpus"], vocabulary, 32, 64)
    assert len({len(ids) for ids in contexts}) > 1, "texts of several lengths"
    folders = {step: inputs["good"] / "checkpoints" / f"step-{step:08d}" for step in (5, 10)}
    logits = {}
    for name, folder in [("bad", folders[5]), ("good", folders[10]), ("small", smaller / "checkpoints/step-00000010")]:
        model = LlamaForCausalLM.from_pretrained(folder).eval()
        with torch.no_grad():
            rows = torch.cat([model(torch.tensor([ids])).logits[0] for ids in contexts]).double()
        rows[:, [vocabulary.unknown, vocabulary.pad]] = -math.inf
        logits[name] = rows.log_softmax(dim=-1)
    good = logits["good"]
    head = good >= good.amax(dim=-1, keepdim=True) + math.log(0.1)

    def contrasted(bad: torch.Tensor) -> torch.Tensor:
        return torch.where(head, good - torch.where(head, bad, 0.0), -math.inf)

    third = contrasted(logits["small"]).topk(3, dim=-1).values[:, -1:]
    scores = [
        good,
        torch.where(head, good, -math.inf),
        contrasted(logits["bad"]),
        torch.where(contrasted(logits["small"]) >= third, contrasted(logits["small"]), -math.inf),
        good / 0.7,
    ]
    return [score.softmax(dim=-1) for score in scores]


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (ANCESTRAL, {**ANCESTRAL, "top_k": 258}, "synthetic.decoding.top_k=null and 258: total variation 0.0e+00"),
        (MASKED, {**MASKED, "alpha": 0.1000001}, "synthetic.decoding.alpha=0.1 and 0.1000001: total variation 0.0e+00"),
        ({"strength": 1.0}, {"strength": 1.0000001}, "synthetic.decoding.strength=1.0 and 1.0000001: total variation"),
        (
            {"bad": DROPOUT},
            {"bad": {**DROPOUT, "p": 0.30000000001}},
            'synthetic.bad={"kind":"attention-dropout","p":0.3} and {"kind":"attention-dropout","p":0.30000000001}',
        ),
    ],
)
def test_arms_that_draw_from_one_distribution_are_an_error(
    one: dict[str, Any], other: dict[str, Any], said: str, check: Callable[..., StageContext]
) -> None:
    with pytest.raises(RunError) as caught:
        manipulation(check(one, {"alpha": 0.3}, other))
    first, *faults, remedy = str(caught.value).splitlines()
    assert first.startswith("arms that are declared to differ draw from one distribution (behind ")
    assert [fault[: len(said)] for fault in faults] == [said]
    assert remedy.startswith("declare values that have an effect, or leave one of the arms out")


def test_an_early_checkpoint_that_is_another_declared_one_is_an_error(
    check: Callable[..., StageContext], inputs: dict[str, Path], tmp_path: Path
) -> None:
    good = tmp_path / "good-twice"
    shutil.copytree(inputs["good"], good)
    shutil.copytree(good / "checkpoints/step-00000005", good / "checkpoints/step-00000003")
    models = {number: {"good": good} for number in (0, 1)}
    with pytest.raises(RunError, match=r'"step":5\} and \{"kind":"early-checkpoint","step":3\}: total variation 0'):
        manipulation(check({"bad": EARLY}, {"bad": {**EARLY, "step": 3}}, models=models))


def test_two_smaller_models_with_equal_weights_are_named_by_their_trainings(
    check: Callable[..., StageContext], smaller: dict[str, Path], tmp_path: Path
) -> None:
    copy = {"bad": tmp_path / "copy", "bad_select": smaller["bad_select"]}
    shutil.copytree(smaller["bad"], copy["bad"])
    with pytest.raises(RunError, match=r"BAD's training=bad and copy: total variation 0\.0"):
        manipulation(check({"bad": SMALLER}, {"bad": SMALLER}, models={0: smaller, 1: copy}))


def test_what_is_declared_of_another_good_is_shown_and_not_judged(
    check: Callable[..., StageContext], inputs: dict[str, Path], tmp_path: Path
) -> None:
    """Two rules may select one checkpoint, and a GOOD may be trained with other checkpoints kept."""
    again = shutil.copytree(inputs["select"], tmp_path / "another-rule")
    result = manipulation(check(MASKED, MASKED, models={1: {"select": Path(again)}}))
    assert by_pair(result)[0, 1]["total_variation"] == 0.0
    assert by_pair(result)[0, 1]["kl_nats"] == [pytest.approx(0.0, abs=1e-12)] * 2


def test_parts_of_the_contexts_compared_at_a_time_give_the_same_sums(
    check: Callable[..., StageContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = (ANCESTRAL, MASKED, {"bad": EARLY}, {"bad": DROPOUT})
    whole = manipulation(check(*arms))
    monkeypatch.setattr(module, "AT_ONCE", 1)
    for one, other in zip(whole["pairs"], manipulation(check(*arms))["pairs"], strict=True):
        assert one["total_variation"] == pytest.approx(other["total_variation"], rel=1e-12)
        assert one["kl_nats"] == [None if kl is None else pytest.approx(kl, rel=1e-9) for kl in other["kl_nats"]]


def test_the_weights_of_one_checkpoint_at_a_time_are_in_memory(
    check: Callable[..., StageContext], smaller: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    load, loaded = Weights.load, []

    def watched(checkpoint: Path, precision: str, device: str) -> Weights:
        assert not [name for name, weights in loaded if weights() is not None], "those before were given back"
        weights = load(checkpoint, precision, device)
        loaded.append((checkpoint.parts[-3:], weakref.ref(weights)))
        return weights

    monkeypatch.setattr(Weights, "load", watched)
    manipulation(check(ANCESTRAL, {"bad": EARLY}, {"bad": DROPOUT}, {"bad": SMALLER}, models={3: smaller}))
    assert len({name for name, _ in loaded}) == len(loaded) == 3


def test_equal_inputs_give_equal_results_and_no_file(check: Callable[..., StageContext]) -> None:
    first, again = (check(ANCESTRAL, {"bad": DROPOUT}) for _ in range(2))
    assert json.dumps(manipulation(first)) == json.dumps(manipulation(again))
    assert not list(first.out.iterdir())


def test_pinned_distances_change_only_with_the_revision_of_the_kind(check: Callable[..., StageContext]) -> None:
    result = manipulation(check(ANCESTRAL, MASKED, {"bad": EARLY}, {"bad": DROPOUT}))
    assert (result["contexts"], result["positions"]) == PINNED_SIZE
    found = [pair["total_variation"] for pair in result["pairs"]]
    assert found == pytest.approx(PINNED, rel=1e-4)


PINNED_SIZE = (3, 132)
PINNED = [0.3384767, 0.5395515, 0.4617655, 0.4125847, 0.3012902, 0.4828223]


def test_a_model_that_diverged_is_named_by_what_is_declared_with_it(
    check: Callable[..., StageContext], inputs: dict[str, Path], tmp_path: Path
) -> None:
    good = tmp_path / "diverged"
    shutil.copytree(inputs["good"], good)
    file = good / "checkpoints/step-00000005/model.safetensors"
    weights = load_file(file)
    weights["lm_head.weight"][7] = math.nan
    save_file(weights, file)
    models = {number: {"good": good} for number in (0, 1)}
    with pytest.raises(RunError, match=r"not finite behind real text, with synthetic.bad=\{.*\"step\":5\}") as caught:
        manipulation(check({"bad": EARLY}, MASKED, models=models))
    assert "synthetic.bad=null" not in str(caught.value)


def test_contexts_come_from_all_over_the_seed_split(tmp_path: Path, vocabulary: Vocabulary) -> None:
    texts = [f"{letter}{letter} and {letter}" for letter in "abcdefghij"]
    pq.write_table(pa.table({"text": texts}), tmp_path / "seed.parquet")
    firsts = [vocabulary.tokenizer.decode(ids) for ids in read_contexts(tmp_path, vocabulary, 5, 20)]
    assert firsts == texts[::2]
    pq.write_table(pa.table({"text": [" ".join(texts)]}), tmp_path / "seed.parquet")
    several = [vocabulary.tokenizer.decode(ids) for ids in read_contexts(tmp_path, vocabulary, 3, 6)]
    assert several == ["aa an", "cc an", "ee an"], "six ids of one text, <s> first, every six words anew"
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "seed.parquet")
    with pytest.raises(RunError, match=r"the seed split holds no text\nraise corpus.seed_share"):
        read_contexts(tmp_path, vocabulary, 3, 8)
