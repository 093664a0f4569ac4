"""The control recipe (real text only) at every scale. A recipe is a function that returns the whole configuration.

`tiny` is for tests, `smoke` for the demonstration, `small` for a night on a laptop or minutes on a GPU, `paper` for
the study.
"""

from __future__ import annotations

from ablab.spec import (
    AtStep,
    BabyLMSource,
    Corpus,
    Curve,
    Evaluation,
    Good,
    LowestValidationLoss,
    MicroworldSource,
    MicroworldSuites,
    Mixture,
    Model,
    Recipe,
    Schedule,
    Size,
    Tokenizer,
)
from ablab.spec.suites import SuiteSource
from experiments import babylm_suites
from experiments.tinybabylm import tinybabylm

MICROWORLD = ("minimal_pairs", "qa_congruence", "entity_tracking", "world_knowledge", "nonce_morphology")


def tiny() -> Recipe:
    """Seconds per stage; scores mean nothing."""
    return Recipe(
        corpus=_microworld(words=15_000, held_out=1_500),
        tokenizer=Tokenizer(vocab_size=384),
        model=Model(layers=2, hidden=32, heads=2, ffn=64, context=64),
        schedule=Schedule(
            steps=20,
            tokens_per_step=256,
            learning_rate=5e-3,
            warmup_steps=2,
            weight_decay=0.1,
            checkpoint_every=5,
            validation_tokens=1_024,
        ),
        precision="fp32",
        good=Good(train_seed=42, selection=LowestValidationLoss()),
        synthetic=None,
        mixture=Mixture(share=0.0),
        evaluation=Evaluation(
            suites=(MicroworldSuites(world_seed=1, items_per_task=8, names=("minimal_pairs", "qa_congruence")),),
            selection=LowestValidationLoss(),
            test_tokens=1_024,
        ),
    )


def smoke() -> Recipe:
    """The demonstration: about 200k real tokens, 400 steps of 1,024 tokens, 0.20M parameters (0.13M in the body)."""
    return Recipe(
        corpus=_microworld(words=150_000, held_out=8_000),
        tokenizer=Tokenizer(vocab_size=512),
        model=Model(layers=2, hidden=64, heads=4, ffn=256, context=128),
        schedule=Schedule(
            steps=400,
            tokens_per_step=1_024,
            learning_rate=5e-3,
            warmup_steps=20,
            weight_decay=0.1,
            checkpoint_every=50,
            validation_tokens=8_192,
        ),
        precision="fp32",
        good=Good(train_seed=42, selection=LowestValidationLoss()),
        synthetic=None,
        mixture=Mixture(share=0.0),
        evaluation=Evaluation(
            suites=(MicroworldSuites(world_seed=1, items_per_task=100, names=MICROWORLD),),
            selection=LowestValidationLoss(),
            test_tokens=8_192,
            curve=Curve(every=50, items_per_task=24),
        ),
        sizes={"r10": Size(layers=1, hidden=32, heads=2, ffn=64)},
    )


def small() -> Recipe:
    """Real text in the BabyLM layout under `ABLAB_DATA`, 8.4M parameters (6.3M without embeddings)."""
    return Recipe(
        corpus=Corpus(
            sources=tuple(
                BabyLMSource(name=name, path="corpora/babylm", words=None, evaluation_words=None)
                for name in ("childes", "gutenberg", "simple_wiki")
            ),
            seed_share=0.05,
            split_seed=1,
            word_budget=100_000_000,
        ),
        tokenizer=Tokenizer(vocab_size=4_096),
        model=Model(layers=6, hidden=256, heads=4, ffn=1_024, context=256),
        schedule=Schedule(
            steps=1_000,
            tokens_per_step=8_192,
            learning_rate=2e-3,
            warmup_steps=50,
            weight_decay=0.1,
            checkpoint_every=100,
            validation_tokens=65_536,
        ),
        precision="bf16",
        good=Good(train_seed=42, selection=LowestValidationLoss()),
        synthetic=None,
        mixture=Mixture(share=0.0),
        evaluation=Evaluation(
            suites=_small_suites(),
            selection=LowestValidationLoss(),
            test_tokens=65_536,
            curve=Curve(every=200, suites=("blimp_fast", "supplement_fast"), items_per_task=20),
        ),
        sizes={
            "r10": Size(layers=3, hidden=128, heads=4, ffn=512),
            "r20": Size(layers=2, hidden=96, heads=4, ffn=384),
            "r50": Size(layers=2, hidden=64, heads=4, ffn=256),
            "r100": Size(layers=1, hidden=64, heads=4, ffn=256),
        },
    )


def paper() -> Recipe:
    """The study's own hyperparameters (Ulm, Du & Snaebjarnarson 2025): 162.4M parameters, 2.10B tokens a run."""
    return Recipe(
        corpus=tinybabylm(),
        tokenizer=Tokenizer(vocab_size=32_000),
        model=Model(layers=12, hidden=768, heads=12, ffn=3_072, context=1_024),
        schedule=Schedule(
            steps=8_000,
            tokens_per_step=262_144,
            learning_rate=1e-3,
            warmup_steps=150,
            weight_decay=0.1,
            checkpoint_every=500,
            validation_tokens=1_048_576,
            decay_norms=True,
        ),
        precision="bf16",
        good=Good(train_seed=43, selection=AtStep(step=2_500)),
        synthetic=None,
        mixture=Mixture(share=0.0),
        evaluation=Evaluation(
            suites=babylm_suites.full(leave_out=("wug_past_tense",)),  # the seven metrics of the study
            selection=LowestValidationLoss(),
            test_tokens=1_048_576,
            curve=Curve(every=500, items_per_task=100),  # the study looks at 16 checkpoints
        ),
        sizes={
            "r5": Size(layers=10, hidden=512, heads=8, ffn=2_048),
            "r10": Size(layers=8, hidden=384, heads=6, ffn=1_536),
            "r20": Size(layers=6, hidden=256, heads=4, ffn=1_024),
            "r50": Size(layers=5, hidden=224, heads=4, ffn=896),
            "r100": Size(layers=4, hidden=192, heads=3, ffn=768),
        },
    )


def _small_suites() -> tuple[SuiteSource, ...]:
    """Fast sentence pairs, nonce words and reading. Items of entity tracking are longer than a context of 256."""
    wanted = ("blimp_fast", "supplement_fast", "wug_adj_nominalization", "eye_tracking", "self_paced_reading")
    suites = {suite.name: suite for suite in (*babylm_suites.fast(), *babylm_suites.full())}
    return tuple(suites[name] for name in wanted)


def _microworld(words: int, held_out: int) -> Corpus:
    return Corpus(
        sources=(MicroworldSource(world_seed=1, words=words, validation_words=held_out, test_words=held_out),),
        seed_share=0.05,
        split_seed=1,
        word_budget=None,
    )
