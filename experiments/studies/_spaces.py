"""What the studies of this folder search, and how much of it at each scale."""

from __future__ import annotations

from typing import Any

from ablab.search import Categorical, Float
from ablab.spec import Recipe, Replicate, edit
from experiments.arms import SHARE, Scale


def base(scale: Scale) -> Recipe:
    """A contrastive mixture with the study's default share: an arm of every ablation of synthetic text."""
    return edit(scale.recipe, {"synthetic": scale.contrastive(), "mixture.share": SHARE})


def ratio_truncation(cuts: tuple[int, ...]) -> dict[str, Any]:
    """Mixing ratio and truncation. Steps and choices hold what ablations use, so their arms are trials for nothing.

    cuts: values of top-k beside none.
    """
    return {
        "mixture.share": Float(low=0.1, high=0.9, step=0.1),
        "synthetic.decoding.top_k": Categorical(choices=(None, *cuts)),
        "synthetic.decoding.top_p": Categorical(choices=(None, 0.90, 0.95, 0.97)),
        "synthetic.decoding.alpha": Categorical(choices=(0.0, 0.05, 0.1, 0.2)),
        "synthetic.decoding.strength": Float(low=0.0, high=1.5, step=0.25),
    }


def fresh(count: int) -> tuple[Replicate, ...]:
    """Seeds that no ablation and no search uses."""
    return tuple(Replicate(train_seed=9_042 + index, generation_seed=9_001 + index) for index in range(count))
