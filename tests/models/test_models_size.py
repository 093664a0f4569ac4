"""Parameter counts: the study's table, and what torch itself counts."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaForCausalLM

from ablab.models.llama import llama_config
from ablab.models.size import model_size, training_flops
from ablab.spec.recipe import Model

# layers, hidden, heads, ffn, non-embedding (millions), total (millions); vocabulary 32,000, untied
STUDY = [
    (12, 768, 12, 3072, 113.3, 162.4),
    (10, 512, 8, 2048, 41.9, 74.7),
    (8, 384, 6, 1536, 18.9, 43.5),
    (6, 256, 4, 1024, 6.3, 22.7),
    (5, 224, 4, 896, 4.0, 18.4),
    (4, 192, 3, 768, 2.4, 14.7),
]


@pytest.mark.parametrize(("layers", "hidden", "heads", "ffn", "non_embedding", "total"), STUDY)
def test_sizes_are_those_of_the_study(
    layers: int, hidden: int, heads: int, ffn: int, non_embedding: float, total: float
) -> None:
    model = Model(layers=layers, hidden=hidden, heads=heads, ffn=ffn, context=1_024)
    size = model_size(model, 32_000)
    # The table counts r5 without norms and adds rounded numbers for r100, which moves the last digit by one.
    assert size.non_embedding / 1e6 == pytest.approx(non_embedding, abs=0.06)
    assert size.total / 1e6 == pytest.approx(total, abs=0.06)
    with torch.device("meta"):
        built = LlamaForCausalLM(llama_config(model, 32_000))
    assert sum(parameter.numel() for parameter in built.parameters()) == size.total


def test_good_has_113_million_parameters_without_and_162_million_with_its_tables() -> None:
    size = model_size(Model(layers=12, hidden=768, heads=12, ffn=3072, context=1_024), 32_000)
    assert (round(size.non_embedding / 1e6, 1), round(size.total / 1e6, 1)) == (113.3, 162.4)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kv_heads", [None, 1, 2])
def test_counts_equal_those_of_the_built_model(tied: bool, kv_heads: int | None) -> None:
    model = Model(layers=3, hidden=32, heads=4, kv_heads=kv_heads, ffn=48, context=16, tied_embeddings=tied)
    with torch.device("meta"):
        built = LlamaForCausalLM(llama_config(model, 100))
    size = model_size(model, 100)
    assert sum(parameter.numel() for parameter in built.parameters()) == size.total
    tables = 1 if tied else 2
    assert size.total - size.non_embedding == tables * 100 * 32


def test_flops_are_six_per_multiplied_parameter_and_attention() -> None:
    model = Model(layers=2, hidden=8, heads=2, ffn=16, context=4)
    multiplied = 2 * (4 * 64 + 3 * 128 + 16) + 8 + 10 * 8
    assert training_flops(model, 10, 100) == 100 * (6 * multiplied + 12 * 2 * 8 * 4)
