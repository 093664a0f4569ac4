"""What an arm's training takes in: what `mixture.hold` keeps equal between shares, and what it makes differ."""

from __future__ import annotations

from dataclasses import dataclass

from ablab.spec.normal import normal
from ablab.spec.recipe import Recipe


@dataclass(frozen=True)
class Amounts:
    """Of one arm. A pass is one time through a pool."""

    share: float
    hold: str
    steps: int
    tokens: int
    """Of the whole training, real and synthetic."""
    real_passes_ratio: float
    """Passes over real text, as a multiple of those of share 0."""
    synthetic_passes: float | None
    """By the declared tokens of the synthetic corpus; None without one."""

    def real_passes(self, real_tokens: int) -> float:
        """Passes over a real text of so many tokens."""
        return (1.0 - self.share) * self.tokens / real_tokens


def amounts(recipe: Recipe) -> Amounts:
    """Follows from the recipe alone."""
    recipe = normal(recipe)
    schedule, share = recipe.arm_schedule(), recipe.mixture.share
    tokens = schedule.steps * schedule.tokens_per_step
    return Amounts(
        share=share,
        hold=recipe.mixture.hold,
        steps=schedule.steps,
        tokens=tokens,
        real_passes_ratio=(1.0 - share) * schedule.steps / recipe.schedule.steps,
        synthetic_passes=share * tokens / recipe.synthetic.tokens if recipe.synthetic is not None else None,
    )
