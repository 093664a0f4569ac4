"""The normal form of a recipe: what cannot matter is put to a neutral value, so equal computations are equal."""

from __future__ import annotations

from ablab.spec.recipe import Good, LastStep, Mixture, Recipe, Size
from ablab.spec.synthetic import SmallerModel, Synthetic

NEUTRAL_GOOD = Good(train_seed=0, selection=LastStep())


def normal(recipe: Recipe) -> Recipe:
    """Share 0 drops generation, and then GOOD; strength 0 drops BAD; sizes that are not BAD, filters that filter
    nothing are off."""
    if recipe.mixture.share == 0.0 or recipe.synthetic is None:
        nothing: dict[str, object] = {
            "synthetic": None,
            "good": NEUTRAL_GOOD,
            "mixture": Mixture(share=0.0),
            "sizes": {},
        }
        return recipe.model_copy(update=nothing)
    synthetic = _normal_synthetic(recipe.synthetic, recipe.tokenizer.vocab_size)
    return recipe.model_copy(update={"synthetic": synthetic, "sizes": _used_sizes(recipe, synthetic)})


def _used_sizes(recipe: Recipe, synthetic: Synthetic) -> dict[str, Size]:
    """The one size that is BAD, if any."""
    bad = synthetic.bad
    return {name: size for name, size in recipe.sizes.items() if isinstance(bad, SmallerModel) and name == bad.size}


def _normal_synthetic(synthetic: Synthetic, vocab_size: int) -> Synthetic:
    decoding = synthetic.decoding
    changes: dict[str, object] = {}
    if decoding.top_k is not None and decoding.top_k >= vocab_size:
        changes["top_k"] = None
    if decoding.top_p == 1.0:
        changes["top_p"] = None
    if decoding.strength == 0.0:
        changes["bad_temperature"] = 1.0
    return synthetic.model_copy(
        update={
            "decoding": decoding.model_copy(update=changes),
            "bad": None if decoding.strength == 0.0 else synthetic.bad,
        }
    )
