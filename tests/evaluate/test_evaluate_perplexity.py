"""Laws of perplexity."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ablab.errors import RunError
from ablab.evaluate.neural import NeuralScorer
from ablab.evaluate.ngram import train_ngram
from ablab.evaluate.perplexity import Stream, language_modelling, read_stream
from ablab.models.llama import load_checkpoint


def write_stream(directory: Path, tokens: list[int], dtype: str, size: int) -> Path:
    directory.mkdir(exist_ok=True)
    np.array(tokens, dtype=np.dtype(dtype).newbyteorder("<")).tofile(directory / "test.bin")
    result = {"dtype": dtype, "tokens": {"test": len(tokens)}, "documents": {"test": 1}, "bytes": {"test": size}}
    (directory / "result.json").write_text(json.dumps(result), encoding="utf-8")
    return directory


@pytest.mark.parametrize("rows", [1, 3, 64])
@pytest.mark.parametrize("length", [2, 20, 49, 50, 200])
def test_a_stream_is_scored_in_blocks_of_the_context_whatever_the_batch(world: Any, rows: int, length: int) -> None:
    model = load_checkpoint(world.root / "train-a" / "checkpoints" / "step-00000004")
    context = model.config.max_position_embeddings
    tokens = np.tile(read_stream(world.root / "tokens", "test").tokens, 3)[:length]
    wanted = []
    for start in range(0, length - 1, context):
        block = torch.from_numpy(tokens[start : start + context + 1])
        log_probs = model(block[None, :-1]).logits[0].double().log_softmax(-1)
        wanted += log_probs.gather(1, block[1:, None]).squeeze(1).tolist()
    assert NeuralScorer(model, rows).stream(tokens).tolist() == pytest.approx(wanted, abs=1e-4)


def test_a_model_that_knows_nothing_has_the_perplexity_of_its_vocabulary() -> None:
    stream = Stream(np.arange(4, 24, dtype=np.int64), bytes=38.0)
    model = train_ngram(np.arange(4, 24, dtype=np.int64), 1, 100, bos=1)
    # every token was seen once, so each has the same probability and the rest of the vocabulary shares what is left
    found = language_modelling(model, stream)
    assert found["tokens"] == 19
    assert found["loss_nats"] == pytest.approx(-math.log(0.5 / 19 + 0.5 / 100))
    assert found["perplexity"] == pytest.approx(1 / (0.5 / 19 + 0.5 / 100))
    assert found["bits_per_byte"] == pytest.approx(0.5 * found["loss_nats"] / math.log(2))


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_the_first_tokens_are_read_and_the_bytes_are_scaled_to_them(tmp_path: Path, dtype: str) -> None:
    directory = write_stream(tmp_path / "tokens", list(range(100, 140)), dtype, size=80)
    stream = read_stream(directory, "test", 10)
    assert stream.tokens.tolist() == list(range(100, 110))
    assert stream.bytes == 20.0
    assert read_stream(directory, "test", 1000).bytes == 80.0


def test_a_stream_of_one_token_is_refused(tmp_path: Path) -> None:
    directory = write_stream(tmp_path / "tokens", [1, 5, 2], "uint16", size=3)
    with pytest.raises(RunError, match="test split is read up to token 1, but at least 2"):
        read_stream(directory, "test", 1)
