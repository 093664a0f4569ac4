"""With the same uniforms our words are those of a plain loop: two transformers models, whole forward per word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from ablab.generate.decoder import pair_of
from ablab.generate.draws import uniforms
from ablab.generate.layout import Weights
from ablab.generate.sampler import Sampler
from ablab.generate.text import Vocabulary
from ablab.spec.synthetic import Decoding

ROWS, SEQUENCES, PROMPT, NEW, SEED = 2, 11, 6, 16, 9
Words = npt.NDArray[np.int64]
Models = tuple[LlamaForCausalLM, LlamaForCausalLM]

FORMS: dict[str, dict[str, Any]] = {
    "ancestral": {"strength": 0.0, "alpha": 0.0},
    "masked": {"strength": 0.0},
    "contrastive": {},
    "temperatures": {"strength": 0.7, "alpha": 0.05, "temperature": 0.8, "bad_temperature": 1.5},
    "contrastive top_k": {"alpha": 0.01, "top_k": 5},
    "contrastive top_p": {"alpha": 0.01, "top_p": 0.9},
    "ancestral top_k then top_p": {"strength": 0.0, "alpha": 0.0, "top_k": 20, "top_p": 0.8},
    "stopping": {"strength": 0.0, "stop_at_eos": True},
    "contrastive stopping": {"alpha": 0.01, "strength": 0.3, "stop_at_eos": True},
}


def reference(models: Models, prompts: Words, how: Decoding) -> Words:
    """Sequence by sequence, word by word; the definition of the decoding in float64."""
    rows = []
    for sequence in range(SEQUENCES):
        words = prompts[sequence % len(prompts)].tolist()
        for position in range(NEW):
            with torch.no_grad():
                good, bad = (model(torch.tensor([words])).logits[0, -1].double() for model in models)
            good[[0, 3]] = -torch.inf
            log_good, log_bad = good.log_softmax(0), (bad / how.bad_temperature).log_softmax(0)
            score = (log_good - how.strength * log_bad) / how.temperature
            if how.alpha > 0:
                score[log_good < np.log(how.alpha) + log_good.max()] = -torch.inf
            words.append(pick(score, how, float(uniforms(SEED, sequence, position))))
            if how.stop_at_eos and words[-1] == 2:
                words += [3] * (NEW - position - 1)
                break
        rows.append(words[PROMPT:])
    return np.array(rows)


def pick(score: torch.Tensor, how: Decoding, uniform: float) -> int:
    order = torch.argsort(score, descending=True, stable=True)
    if how.top_k is not None:
        score[order[how.top_k :]] = -torch.inf
    if how.top_p is not None:
        before = torch.cumsum(score.softmax(0)[order], 0) - score.softmax(0)[order]
        score[order[before >= how.top_p]] = -torch.inf
    return int((score.softmax(0).cumsum(0) <= uniform).sum())


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Models, Path]:
    root = tmp_path_factory.mktemp("pair")
    made = []
    for seed, name in enumerate(("good", "bad")):
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=260,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=32,
            initializer_range=0.25,
        )
        model = LlamaForCausalLM(config).eval()
        if name == "good":
            model.lm_head.weight.data[2] = model.lm_head.weight.data[5:9].sum(0)  # `</s>` comes up now and then
        model.save_pretrained(root / name)
        made.append(model)
    return (made[0], made[1]), root


@pytest.mark.parametrize("form", FORMS)
def test_words_equal_those_of_a_plain_two_model_loop(
    form: str, models: tuple[Models, Path], vocabulary: Vocabulary
) -> None:
    pair, root = models
    settings = {"strength": 1.0, "alpha": 0.1, "temperature": 1.0, "bad_temperature": 1.0, "top_k": None, "top_p": None}
    how = Decoding(**(settings | {"stop_at_eos": False, "keep_prompt": True} | FORMS[form]))
    prompts = np.random.default_rng(1).integers(4, 260, (3, PROMPT))
    weights = [Weights.load(root / name, "fp32") for name in ("good", "bad")]
    good, bad = pair_of(weights[0], weights[1] if how.strength else None, ROWS, PROMPT + NEW)
    sampler = Sampler(good, bad, how, prompts, NEW, SEED, vocabulary)
    size = sampler.shard_size  # of the last shard not all are wanted; a stopping row goes on with the next sequence
    assert size == (4 * ROWS if how.stop_at_eos else ROWS)
    shards = [
        sampler.shard(index, min(size, SEQUENCES - index * size), lambda _: None)
        for index in range(-(-SEQUENCES // size))
    ]
    ours = np.concatenate([shard.words_SN for shard in shards])
    expected = reference(pair, prompts, how)
    assert np.array_equal(ours, expected)
    assert len(np.unique(ours)) > 20
    assert sum(shard.sampled for shard in shards) == (expected != 3).sum()
    assert sum(shard.stopped for shard in shards) == ((expected == 2).any(axis=1).sum() if how.stop_at_eos else 0)
    if how.stop_at_eos:
        assert (expected == 3).any()
