"""The stage kind `floor`: what a 5-gram model of the same text scores on the same items."""

from __future__ import annotations

from typing import Any

from ablab.corpora import tokenizer
from ablab.evaluate.measure import measure
from ablab.evaluate.ngram import train_ngram
from ablab.evaluate.perplexity import read_stream
from ablab.store.context import StageContext


def evaluate_floor(ctx: StageContext) -> dict[str, Any]:
    """Train an n-gram model on the train split; judge it as `evaluate` judges a checkpoint. `step` is None."""
    encoder = tokenizer.load(ctx.inputs["tokenizer"])
    tokens = read_stream(ctx.inputs["tokens"], "train").tokens
    model = train_ngram(tokens, ctx.params["order"], encoder.get_vocab_size(), tokenizer.BOS)
    ctx.costs["tokens"] = float(len(tokens))
    return measure(ctx, model, encoder) | {"step": None}
