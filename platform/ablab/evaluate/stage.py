"""The stage kind `evaluate`: scores of one checkpoint, item by item."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch

from ablab.corpora import tokenizer
from ablab.evaluate.measure import measure
from ablab.evaluate.neural import NeuralScorer
from ablab.models.llama import load_checkpoint
from ablab.store.context import Progress, StageContext, silent

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def evaluate(ctx: StageContext) -> dict[str, Any]:
    """Judge the selected checkpoint of a training on the suites and on the test split."""
    started = time.perf_counter()
    torch.set_num_threads(ctx.numerics.threads)
    selected = json.loads((ctx.inputs["select"] / "result.json").read_text(encoding="utf-8"))
    step = int(selected["step"])
    scorer = load_scorer(ctx, ctx.inputs["train"] / "checkpoints" / f"step-{step:08d}", ctx.progress)
    result = measure(ctx, scorer, tokenizer.load(ctx.inputs["tokenizer"]))
    ctx.costs["tokens"] = float(scorer.tokens)
    ctx.costs["tokens_per_second"] = scorer.tokens / (time.perf_counter() - started)
    ctx.costs["flops"] = scorer.flops
    return result | {"step": step}


def load_scorer(ctx: StageContext, checkpoint: Path, progress: Progress = silent) -> NeuralScorer:
    """A checkpoint in the recipe's precision."""
    model = load_checkpoint(checkpoint, dtype=DTYPES[ctx.params["precision"]], device=ctx.numerics.device)
    return NeuralScorer(model, ctx.numerics.evaluation_rows, progress)
