"""Small real inputs for generation: a byte tokenizer, checkpoints from counted draws, a seed split."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from ablab.generate.draws import uniforms
from ablab.generate.text import Vocabulary
from ablab.spec.placement import Numerics
from ablab.store.context import Progress, StageContext, silent

SPECIALS = ["<unk>", "<s>", "</s>", "<pad>"]
VOCAB_SIZE = 260
TEXTS = (
    "Anna put the red ball into the box. Then she went to the old mill by the river.",
    "Tom has a cat. The cat sleeps in the kitchen, and the dog does not.",
    "Hm.",
)

StageRunner = Callable[..., StageContext]


def byte_tokenizer() -> Tokenizer:
    """Ids 0..3 are the specials, 4..259 the bytes; no merges."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({word: i for i, word in enumerate([*SPECIALS, *alphabet])}, []))
    tokenizer.add_special_tokens(SPECIALS)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def write_checkpoint(folder: Path, seed: int, vocab_size: int = VOCAB_SIZE, context: int = 64, layers: int = 2) -> None:
    """A Llama of width 16 with 4 heads over 2 key/value heads; weights are uniforms of (seed, tensor, element)."""
    hidden, ffn, head = 16, 32, 4
    sizes = {"q": 4 * head, "k": 2 * head, "v": 2 * head, "o": hidden}
    shapes = {"model.embed_tokens.weight": (vocab_size, hidden), "lm_head.weight": (vocab_size, hidden)}
    for layer in (f"model.layers.{index}." for index in range(layers)):
        shapes |= {f"{layer}self_attn.{part}_proj.weight": (size, hidden) for part, size in sizes.items()}
        shapes |= {f"{layer}mlp.{part}_proj.weight": (ffn, hidden) for part in ("gate", "up")}
        shapes |= {f"{layer}mlp.down_proj.weight": (hidden, ffn)}
    tensors = {}
    for number, (name, shape) in enumerate(shapes.items()):
        draws = uniforms(seed, number, np.arange(shape[0] * shape[1])).reshape(shape)
        tensors[name] = torch.from_numpy((draws - 0.5).astype(np.float32))
    norms = [
        f"model.layers.{index}.{part}_layernorm" for index in range(layers) for part in ("input", "post_attention")
    ]
    tensors |= {f"{name}.weight": torch.ones(hidden) for name in [*norms, "model.norm"]}
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors")
    config = {
        "model_type": "llama",
        "vocab_size": vocab_size,
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": ffn,
        "max_position_embeddings": context,
        "rms_norm_eps": 1e-6,
        "hidden_act": "silu",
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
        "tie_word_embeddings": False,
    }
    (folder / "config.json").write_text(json.dumps(config))


def generate_params(**changes: Any) -> dict[str, Any]:
    """Hashed parameters of a small contrastive corpus; fields are changed by name, wherever they stand."""
    params: dict[str, Any] = {
        "bad": {"kind": "early-checkpoint", "step": 5},
        "decoding": {
            "strength": 1.0,
            "alpha": 0.1,
            "temperature": 1.0,
            "bad_temperature": 1.0,
            "top_k": None,
            "top_p": None,
            "stop_at_eos": False,
            "keep_prompt": True,
        },
        "prompts": {"tokens": 8, "chunk_words": 6, "new_tokens": 12},
        "tokens": 12 * 10 - 5,
        "generation_seed": 3,
        "precision": "fp32",
    }
    for name, value in changes.items():
        owner = next(part for part in (params, params["decoding"], params["prompts"]) if name in part)
        owner[name] = value
    return params


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    return Vocabulary(byte_tokenizer())


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Finished stage directories: BAD is step 5, GOOD step 10."""
    root = tmp_path_factory.mktemp("inputs")
    folders = {name: root / name for name in ("corpus", "tokenizer", "good", "select")}
    for name in ("corpus", "tokenizer", "select"):
        folders[name].mkdir()
    columns = {"id": [str(i) for i in range(len(TEXTS))], "source": ["x"] * len(TEXTS), "text": list(TEXTS)}
    pq.write_table(pa.table(columns), folders["corpus"] / "seed.parquet")
    byte_tokenizer().save(str(folders["tokenizer"] / "tokenizer.json"))
    for step in (5, 10):
        write_checkpoint(folders["good"] / "checkpoints" / f"step-{step:08d}", seed=step)
    (folders["select"] / "result.json").write_text(json.dumps({"step": 10}))
    return folders


@pytest.fixture
def context(tmp_path: Path, inputs: dict[str, Path]) -> StageRunner:
    """Makes a context with an `out` of its own; `work` is shared by contexts of one name."""

    def make(
        params: dict[str, Any], name: str = "stage", rows: int = 4, progress: Progress = silent, **other: Path
    ) -> StageContext:
        attempt = len(list(tmp_path.glob(f"{name}-out*")))
        out, work = tmp_path / f"{name}-out{attempt}", tmp_path / f"{name}-work"
        out.mkdir()
        work.mkdir(exist_ok=True)
        numerics = Numerics(decoder_rows=rows)
        return StageContext("k" * 64, params, inputs | other, {}, out, work, numerics, progress, {})

    return make


@pytest.fixture(scope="session")
def params() -> Callable[..., dict[str, Any]]:
    return generate_params


@pytest.fixture(scope="session")
def checkpoint() -> Callable[..., None]:
    return write_checkpoint


@pytest.fixture
def smaller(tmp_path: Path, checkpoint: Callable[..., None]) -> dict[str, Path]:
    """A finished training of a model of one layer, and which of its steps is BAD."""
    bad, select = tmp_path / "bad", tmp_path / "bad_select"
    checkpoint(bad / "checkpoints" / "step-00000010", seed=77, layers=1)
    select.mkdir()
    (select / "result.json").write_text(json.dumps({"step": 10}))
    return {"bad": bad, "bad_select": select}
