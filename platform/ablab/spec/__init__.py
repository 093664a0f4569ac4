"""What is declared: recipes, ablations, claims; and what follows from it: stages and keys. Pure, no I/O."""

from ablab.spec.ablation import Ablation, Arm, Claim, Design, Replicate
from ablab.spec.corpus import Archive, BabyLMSource, Corpus, FileSource, HubSource, MicroworldSource
from ablab.spec.edit import edit
from ablab.spec.lower import Lowered, lower
from ablab.spec.placement import Numerics, Placement
from ablab.spec.recipe import (
    AtStep,
    Curve,
    Evaluation,
    Good,
    LastStep,
    LowestValidationLoss,
    Mixture,
    Model,
    Recipe,
    Schedule,
    Size,
    Tokenizer,
)
from ablab.spec.stages import KINDS, Stage, StageKind
from ablab.spec.suites import BabyLMSuite, LmEvalTasks, MicroworldSuites
from ablab.spec.synthetic import AttentionDropout, Decoding, EarlyCheckpoint, Prompts, SmallerModel, Synthetic

__all__ = [
    "KINDS",
    "Ablation",
    "Archive",
    "Arm",
    "AtStep",
    "AttentionDropout",
    "BabyLMSource",
    "BabyLMSuite",
    "Claim",
    "Corpus",
    "Curve",
    "Decoding",
    "Design",
    "EarlyCheckpoint",
    "Evaluation",
    "FileSource",
    "Good",
    "HubSource",
    "LastStep",
    "LmEvalTasks",
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
    "Size",
    "SmallerModel",
    "Stage",
    "StageKind",
    "Synthetic",
    "Tokenizer",
    "edit",
    "lower",
]
