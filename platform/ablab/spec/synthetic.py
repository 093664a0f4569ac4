"""`Synthetic`: a corpus sampled from GOOD, contrasted with BAD (Ulm, Du & Snaebjarnarson 2025 for the terms)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ablab.spec.base import INERT, Name, Positive, Share, Spec


class EarlyCheckpoint(Spec):
    """BAD is an earlier checkpoint of GOOD's own run; needs no extra training."""

    kind: Literal["early-checkpoint"] = "early-checkpoint"
    step: Positive


class SmallerModel(Spec):
    """BAD is a smaller model, trained as GOOD was and up to the step at which GOOD was selected."""

    kind: Literal["smaller-model"] = "smaller-model"
    size: Name
    """A name of `Recipe.sizes`."""


class AttentionDropout(Spec):
    """BAD is GOOD itself with dropout of its attention weights while it decodes; its cache is its own."""

    kind: Literal["attention-dropout"] = "attention-dropout"
    p: Annotated[float, Field(gt=0.0, lt=1.0)]
    """Probability that an attention weight is dropped; the others are divided by 1 - p."""


Bad = Annotated[EarlyCheckpoint | SmallerModel | AttentionDropout, Field(discriminator="kind")]


class Decoding(Spec):
    """Score inside the plausible head: log p_GOOD - strength x log p_BAD (the study's form, after Li et al. 2023).

    Not the form (1+b) log p_G - b log p_B of O'Brien & Lewis (2023): that equals strength b/(1+b) at
    temperature 1/(1+b). Head: log p_GOOD >= log alpha + max log p_GOOD, at temperature 1; outside it -inf.
    """

    strength: Annotated[float, Field(ge=0.0)]
    """lambda; 0 is mask only."""
    alpha: Share
    """Plausibility threshold; 0 is no mask."""
    temperature: Annotated[float, Field(gt=0.0)]
    """Divides the final score."""
    bad_temperature: Annotated[float, Field(gt=0.0)]
    """Divides BAD's logits before its log-softmax."""
    top_k: Positive | None
    """Keep the k best scores (after the contrast); None for all."""
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] | None
    """Keep the smallest set with this probability mass (after the contrast and top_k); None for all."""
    stop_at_eos: bool
    """False runs on into the next document, as the study does."""
    keep_prompt: bool
    """True leaves the prompt in the text, as the study does."""


class Distribution(Spec):
    """What words are drawn from, beside GOOD."""

    bad: Bad | None
    decoding: Decoding


class Prompts(Spec):
    """Prompts are the first tokens (with BOS) of chunks of the seed split; sequence s continues prompt s mod n."""

    tokens: Positive
    chunk_words: Positive
    new_tokens: Positive
    """Tokens sampled after each prompt."""


class ExactDuplicates(Spec):
    """A text whose words an earlier one has in the same order is left out."""

    kind: Literal["exact"] = "exact"


class NearDuplicates(Spec):
    """A text is left out that shares most of its word n-grams with an earlier one (MinHash; finds equal ones too)."""

    kind: Literal["near"] = "near"
    similarity: Annotated[float, Field(gt=0.0, le=1.0)]
    """Jaccard similarity of the sets of n-grams from which on two texts are near."""
    ngram: Positive
    """Words of an n-gram."""


Duplicates = Annotated[ExactDuplicates | NearDuplicates, Field(discriminator="kind")]


class Synthetic(Distribution):
    """One synthetic corpus."""

    prompts: Prompts
    tokens: Positive
    """Sampled tokens of the corpus (prompts not counted), rounded up to whole sequences."""
    duplicates: Duplicates | None = Field(default=None, json_schema_extra=INERT)
    """Which generated texts are left out of the corpus as duplicates of earlier ones; None for none."""
