"""Parameters and floating point operations of a Llama from its declaration alone: no torch, so plans can use it."""

from __future__ import annotations

from dataclasses import dataclass

from ablab.spec.recipe import Model

COMPILING_PAYS_FLOPS = {"cpu": 4.0e13, "cuda": 1.0e17}
"""About two minutes of two CPU cores, or five of a data-centre GPU: a fifth is saved, and 20 s (60 s) are spent."""


@dataclass(frozen=True)
class Size:
    """Parameter counts. The norms count as non-embedding, as in the study's tables."""

    total: int
    non_embedding: int
    """Without the token embedding and, when it is a table of its own, the head."""
    multiplied: int
    """Parameters that take part in a matrix product for every token: all but a looked-up embedding table."""


def model_size(model: Model, vocab_size: int) -> Size:
    """Parameter counts of the decoder: attention without biases, SwiGLU, RMSNorm, head tied or not."""
    kv_heads = model.kv_heads or model.heads
    kv_width = model.hidden // model.heads * kv_heads
    attention = 2 * model.hidden * model.hidden + 2 * model.hidden * kv_width
    feed_forward = 3 * model.hidden * model.ffn
    norms = 2 * model.hidden
    blocks = model.layers * (attention + feed_forward + norms) + model.hidden
    table = vocab_size * model.hidden
    tables = table if model.tied_embeddings else 2 * table
    return Size(total=blocks + tables, non_embedding=blocks, multiplied=blocks + table)


def compiling_pays(flops: float, device: str) -> bool:
    """Whether a training of so many operations saves more by compiled layers than compiling them takes."""
    return flops >= COMPILING_PAYS_FLOPS[device.partition(":")[0]]


def training_flops(model: Model, vocab_size: int, tokens: int) -> float:
    """Operations of a forward and backward pass over `tokens`: (6 N + 12 L H T) each.

    N = parameters that are multiplied for every token, L = layers, H = hidden, T = context; after Chowdhery et
    al. (2022, PaLM, appendix B), whose attention term likewise does not halve for the causal mask.
    """
    attention = 12 * model.layers * model.hidden * model.context
    return float(tokens) * (6 * model_size(model, vocab_size).multiplied + attention)
