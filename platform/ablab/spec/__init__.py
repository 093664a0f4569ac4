"""What is declared: recipes, ablations, claims; and what follows from it: stages and keys. Pure, no I/O."""

from ablab.spec.ablation import Ablation, Arm, Claim, Design, Replicate
from ablab.spec.edit import edit
from ablab.spec.lower import Lowered, lower
from ablab.spec.placement import Numerics, Placement
from ablab.spec.recipe import (
    AtStep,
    BabyLMSource,
    BabyLMSuite,
    Corpus,
    Decoding,
    EarlyCheckpoint,
    Evaluation,
    Good,
    LastStep,
    LowestValidationLoss,
    MicroworldSource,
    MicroworldSuites,
    Mixture,
    Model,
    Prompts,
    Recipe,
    Schedule,
    Synthetic,
    Tokenizer,
)
from ablab.spec.stages import KINDS, Stage, StageKind

__all__ = [
    "KINDS",
    "Ablation",
    "Arm",
    "AtStep",
    "BabyLMSource",
    "BabyLMSuite",
    "Claim",
    "Corpus",
    "Decoding",
    "Design",
    "EarlyCheckpoint",
    "Evaluation",
    "Good",
    "LastStep",
    "Lowered",
    "LowestValidationLoss",
    "MicroworldSource",
    "MicroworldSuites",
    "Mixture",
    "Model",
    "Numerics",
    "Placement",
    "Prompts",
    "Recipe",
    "Replicate",
    "Schedule",
    "Stage",
    "StageKind",
    "Synthetic",
    "Tokenizer",
    "edit",
    "lower",
]
