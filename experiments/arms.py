"""What the ablations of the study share: synthetic corpora, BAD models, replicates. Equal arms are equal stages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ablab.spec import Arm, Recipe, Replicate
from experiments.scales import paper, small, smoke, tiny

SHARE = 0.3  # of synthetic text in a mixture: the study's default
ALPHA = 0.1  # of the plausibility mask
A_A = Arm(name="real-only-again", edits={}, seed_offset=1_000)  # the control with other seeds: the noise floor


@dataclass(frozen=True)
class Scale:
    """What the designs of one scale have in common."""

    recipe: Recipe
    bad_step: int
    """BAD is this checkpoint of GOOD's own run, wherever BAD is not what is varied."""
    tokens: int
    """Sampled tokens of a synthetic corpus."""
    prompt: int
    chunk_words: int
    replicates: int

    def ancestral(self) -> dict[str, Any]:
        """Text sampled from GOOD as it is: no mask, no contrast, no truncation."""
        return {
            "bad": None,
            "decoding": {
                "strength": 0.0,
                "alpha": 0.0,
                "temperature": 1.0,
                "bad_temperature": 1.0,
                "top_k": None,
                "top_p": None,
                "stop_at_eos": False,
                "keep_prompt": True,
            },
            "prompts": {
                "tokens": self.prompt,
                "chunk_words": self.chunk_words,
                "new_tokens": min(400, self.recipe.model.context - self.prompt),
            },
            "tokens": self.tokens,
        }

    def contrastive(self, bad: dict[str, Any] | None = None) -> dict[str, Any]:
        """Text sampled by GOOD against BAD under the mask."""
        sampled = self.ancestral()
        sampled["decoding"] |= {"strength": 1.0, "alpha": ALPHA}
        return sampled | {"bad": bad or early(self.bad_step)}

    def pairs(self) -> tuple[Replicate, ...]:
        """Replicates with seeds of their own, equal in every ablation."""
        return tuple(Replicate(train_seed=42 + index, generation_seed=1 + index) for index in range(self.replicates))


TINY = Scale(tiny(), bad_step=5, tokens=2_000, prompt=8, chunk_words=30, replicates=2)
SMOKE = Scale(smoke(), bad_step=100, tokens=120_000, prompt=20, chunk_words=40, replicates=2)
SMALL = Scale(small(), bad_step=200, tokens=2_000_000, prompt=20, chunk_words=150, replicates=3)
PAPER = Scale(paper(), bad_step=500, tokens=97_000_000, prompt=20, chunk_words=150, replicates=10)


def mixture(name: str, synthetic: dict[str, Any], share: float = SHARE) -> Arm:
    """An arm that trains on real and synthetic text."""
    return Arm(name=name, edits={"synthetic": synthetic, "mixture.share": share})


def early(step: int) -> dict[str, Any]:
    """BAD is an early checkpoint of GOOD's own run."""
    return {"kind": "early-checkpoint", "step": step}


def smaller(size: str) -> dict[str, Any]:
    """BAD is a smaller model at GOOD's step."""
    return {"kind": "smaller-model", "size": size}


def dropout(p: float) -> dict[str, Any]:
    """BAD is GOOD with attention dropout."""
    return {"kind": "attention-dropout", "p": p}
