"""`Recipe`: everything that affects the result of one arm (Ulm, Du & Snaebjarnarson 2025 for the terms).

Fields without a default are what experiments are about and must be stated. Units stand in the docstrings.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import Field

from ablab.spec.base import INERT, Name, Positive, Share, Spec
from ablab.spec.corpus import Corpus
from ablab.spec.suites import SuiteSource
from ablab.spec.synthetic import Synthetic


class Tokenizer(Spec):
    """Byte-level BPE trained on the train split; specials `<unk> <s> </s> <pad>` = 0..3."""

    kind: Literal["bpe"] = "bpe"
    vocab_size: Annotated[int, Field(ge=260)]
    normalization: Literal["NFKC", "none"] = "NFKC"


class Model(Spec):
    """A Llama-2 style decoder."""

    layers: Positive
    hidden: Positive
    heads: Positive
    kv_heads: Positive | None = Field(default=None, json_schema_extra=INERT)
    """Key/value heads; None for as many as `heads`."""
    ffn: Positive
    context: Positive
    """Tokens of a packed block and the longest sequence."""
    tied_embeddings: bool = Field(default=False, json_schema_extra=INERT)
    rope_theta: Annotated[float, Field(gt=0.0)] = Field(default=10000.0, json_schema_extra=INERT)


class Size(Spec):
    """What distinguishes a smaller model; everything else is as in `Recipe.model`."""

    layers: Positive
    hidden: Positive
    heads: Positive
    ffn: Positive
    kv_heads: Positive | None = Field(default=None, json_schema_extra=INERT)


class Schedule(Spec):
    """AdamW, linear warmup, cosine to 0. Every arm trains the same number of steps, unless `mixture.hold` says else."""

    steps: Positive
    tokens_per_step: Positive
    learning_rate: Annotated[float, Field(gt=0.0, le=10.0)]
    warmup_steps: Annotated[int, Field(ge=0)]
    weight_decay: Annotated[float, Field(ge=0.0)]
    checkpoint_every: Positive
    """Steps between checkpoints; validation loss is measured at each."""
    validation_tokens: Positive
    """Tokens of the validation split that a measurement reads at most."""
    beta1: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(default=0.9, json_schema_extra=INERT)
    beta2: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(default=0.999, json_schema_extra=INERT)
    epsilon: Annotated[float, Field(gt=0.0)] = Field(default=1e-8, json_schema_extra=INERT)
    clip_norm: Annotated[float, Field(gt=0.0)] | None = Field(default=None, json_schema_extra=INERT)
    """Global gradient norm to clip at; None for no clipping."""
    decay_norms: bool = Field(default=False, json_schema_extra=INERT)
    """Weight decay on norm weights and embeddings as well, as the study's code does."""
    document_masks: bool = Field(default=False, json_schema_extra=INERT)
    """Attention stays within a document of a packed block; rotary positions count on, as only distances matter."""


class LowestValidationLoss(Spec):
    """The checkpoint with the lowest held-out loss; the earliest of equals."""

    kind: Literal["lowest-validation-loss"] = "lowest-validation-loss"


class AtStep(Spec):
    """A declared step (a multiple of the checkpoint interval)."""

    kind: Literal["at-step"] = "at-step"
    step: Positive


class LastStep(Spec):
    """The last checkpoint."""

    kind: Literal["last-step"] = "last-step"


Selection = Annotated[LowestValidationLoss | AtStep | LastStep, Field(discriminator="kind")]


class Good(Spec):
    """Which checkpoint of which real-only run is GOOD. One fixed run unless `per_replicate`."""

    train_seed: int
    selection: Selection
    per_replicate: bool = Field(default=False, json_schema_extra=INERT)
    """Train a GOOD of its own for every replicate (then `train_seed` is the replicate's)."""


class Mixture(Spec):
    """After n blocks floor(n x share + 1/2) of them are synthetic."""

    share: Share
    hold: Literal["compute", "real-passes"] = "compute"
    """What stays equal between shares: training steps (compute), so passes over real text fall with the share; or
    those passes, so training gets longer by 1 / (1 - share), up to the next checkpoint."""


class Curve(Spec):
    """Early looks: suites at checkpoints of the training. What is judged is never chosen on them."""

    every: Positive
    """Steps between looks, a multiple of the checkpoint interval."""
    suites: tuple[Name, ...] | None = Field(default=None, min_length=1, json_schema_extra=INERT)
    """Names of suites of the evaluation; None for all."""
    items_per_task: Positive | None = Field(default=None, json_schema_extra=INERT)
    """First items of every task of questions with a right answer; None for all. Comparisons with people take all."""


class Evaluation(Spec):
    """What an arm is judged by: zero-shot suites, and perplexity on the test split."""

    suites: tuple[SuiteSource, ...] = Field(min_length=1)
    selection: Selection
    """Which checkpoint is judged; never chosen on the suites themselves."""
    test_tokens: Positive
    """Tokens of the test split that perplexity reads at most."""
    curve: Curve | None = Field(default=None, json_schema_extra=INERT)
    """Learning curves; None for none."""


class Recipe(Spec):
    """One arm, whole."""

    corpus: Corpus
    tokenizer: Tokenizer
    model: Model
    schedule: Schedule
    precision: Literal["fp32", "bf16"]
    good: Good
    synthetic: Synthetic | None
    mixture: Mixture
    evaluation: Evaluation
    sizes: dict[Name, Size] = Field(default_factory=dict, json_schema_extra=INERT)
    """Smaller models that may be BAD (`SmallerModel`), by name."""

    def arm_schedule(self) -> Schedule:
        """The schedule of the arm's own training, which `mixture.hold` may lengthen; GOOD and BAD have `schedule`."""
        share, every = Fraction(repr(self.mixture.share)), self.schedule.checkpoint_every
        if self.mixture.hold == "compute" or not 0 < share < 1:
            return self.schedule
        return self.schedule.model_copy(update={"steps": math.ceil(self.schedule.steps / (1 - share) / every) * every})

    def smaller(self, size: str) -> Model:
        """The model of a declared size: `model` with the size's shape. Raises KeyError for one that is not declared."""
        return self.model.model_copy(update=dict(self.sizes[size]))
