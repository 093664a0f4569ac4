"""Recipes that several tests share."""

from __future__ import annotations

from ablab.spec import Recipe, edit
from experiments.scales import tiny

CONTRASTIVE = {
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
    "prompts": {"tokens": 8, "chunk_words": 30, "new_tokens": 56},
    "tokens": 2_000,
}


def contrastive() -> Recipe:
    return edit(tiny(), {"synthetic": CONTRASTIVE, "mixture.share": 0.3})
