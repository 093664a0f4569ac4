"""`Recipe`: everything that affects the result of one arm (Ulm, Du & Snaebjarnarson 2025 for the terms).

Fields without a default are what experiments are about and must be stated. Units stand in the docstrings.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ablab.spec.base import EXECUTION, INERT, Name, Positive, Share, Spec


class MicroworldSource(Spec):
    """The built-in world (`ablab.corpora.microworld`): stories with ground truth."""

    kind: Literal["microworld"] = "microworld"
    name: Name = "microworld"
    world_seed: int
    words: Positive
    """Whitespace words of the train and seed splits together."""
    validation_words: Positive
    test_words: Positive


class BabyLMSource(Spec):
    """One source in the BabyLM layout: `<path>/{train,dev,test}/<name>.{train,dev,test}`, UTF-8 text."""

    kind: Literal["babylm"] = "babylm"
    name: Name
    path: str = Field(json_schema_extra=EXECUTION)
    """Absolute, or relative to `ABLAB_DATA`. Never hashed: the digests are."""
    words: Positive | None
    """First words of the train file to take (whole paragraph blocks); None takes all."""
    evaluation_words: Positive | None
    """The same for the dev and the test file."""
    digests: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of each file, by split; filled in by resolving."""


Source = Annotated[MicroworldSource | BabyLMSource, Field(discriminator="kind")]


class Corpus(Spec):
    """Sources and their disjoint splits. Validation and test come from the sources' own held-out parts."""

    sources: tuple[Source, ...] = Field(min_length=1)
    seed_share: Annotated[float, Field(gt=0.0, lt=1.0)]
    """Share of the documents of every source that is kept for generation prompts only (study: 0.05)."""
    split_seed: int
    word_budget: Positive | None = Field(json_schema_extra=EXECUTION)
    """Whitespace words that all train files together may hold at most; checked, None for no limit."""


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


class Schedule(Spec):
    """AdamW, linear warmup, cosine to 0. Every arm trains the same number of steps."""

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


class EarlyCheckpoint(Spec):
    """BAD is an earlier checkpoint of GOOD's own run; needs no extra training."""

    kind: Literal["early-checkpoint"] = "early-checkpoint"
    step: Positive


Bad = EarlyCheckpoint


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


class Prompts(Spec):
    """Prompts are the first tokens (with BOS) of chunks of the seed split; sequence s continues prompt s mod n."""

    tokens: Positive
    chunk_words: Positive
    new_tokens: Positive
    """Tokens sampled after each prompt."""


class Synthetic(Spec):
    """One synthetic corpus."""

    bad: Bad | None
    decoding: Decoding
    prompts: Prompts
    tokens: Positive
    """Sampled tokens of the corpus (prompts not counted), rounded up to whole sequences."""


class Mixture(Spec):
    """After n blocks floor(n x share + 1/2) of them are synthetic."""

    share: Share
    hold: Literal["compute"] = "compute"
    """What stays equal between shares: training steps (compute), so passes over real text fall with the share."""


class MicroworldSuites(Spec):
    """The suites of the built-in world."""

    kind: Literal["microworld"] = "microworld"
    world_seed: int
    items_per_task: Positive
    names: tuple[Name, ...] = Field(min_length=1)


class BabyLMSuite(Spec):
    """One suite of sentence pairs in the BabyLM 2025 layout: a folder of `*.jsonl` with sentence_good, sentence_bad."""

    kind: Literal["babylm"] = "babylm"
    name: Name
    group: Literal["linguistic", "reasoning"]
    path: str = Field(json_schema_extra=EXECUTION)
    """Folder, absolute or relative to `ABLAB_DATA`."""
    items_per_task: Positive | None
    """First rows of every file to take; None for all."""
    digests: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of each file, by file name; filled in by resolving."""


SuiteSource = Annotated[MicroworldSuites | BabyLMSuite, Field(discriminator="kind")]


class Evaluation(Spec):
    """What an arm is judged by: zero-shot suites, and perplexity on the test split."""

    suites: tuple[SuiteSource, ...] = Field(min_length=1)
    selection: Selection
    """Which checkpoint is judged; never chosen on the suites themselves."""
    test_tokens: Positive
    """Tokens of the test split that perplexity reads at most."""


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
