"""The stage `manipulation`: before any corpus of a replicate is sampled, how far apart its arms' distributions are.

Every distribution that an arm declares is computed behind the same real text, by the functions that generation draws
with. Arms that differ in BAD or decoding and draw from one distribution are no two arms: an error, found in seconds and
not in the results of a finished ablation.
"""

# C contexts, T their words, G distributions, V vocabulary

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ablab.errors import RunError
from ablab.generate.decoder import Decoder
from ablab.generate.dropout import AttentionDropout
from ablab.generate.job import threads_of
from ablab.generate.layout import Weights
from ablab.generate.models import Models, find_models
from ablab.generate.probe import SAME, distribution
from ablab.generate.prompts import read_contexts
from ablab.generate.text import Vocabulary
from ablab.generate.weights import read_architecture
from ablab.spec.base import build
from ablab.spec.canonical import canonical_json
from ablab.spec.manipulation import MODELS, NEUTRAL
from ablab.spec.synthetic import Distribution
from ablab.store.context import StageContext

CONTEXTS: Final = 32
LENGTH: Final = 64
"""Words of a context at most; the distributions are compared behind each of them."""
SEED: Final = 0
"""Of the masks of attention dropout, whatever the seed of a generation is: it has no part in the mean."""
AT_ONCE: Final = 1 << 22
"""Probabilities that are compared at once: 32 MiB in float64."""


@dataclass(frozen=True)
class Model:
    """A checkpoint, with dropout of its attention or without."""

    checkpoint: Path
    dropout: float | None = None


@dataclass(frozen=True)
class Arm:
    """A declared distribution, from which several arms may draw."""

    declared: Distribution
    inputs: Mapping[str, Path]
    good: Model
    bad: Model | None

    @classmethod
    def of(cls, ctx: StageContext, number: int) -> Arm:
        declared = build(Distribution, ctx.params["distributions"][number], "manipulation")
        inputs = {name: ctx.inputs[f"{name}_{number}"] for name in MODELS if f"{name}_{number}" in ctx.inputs}
        return cls(declared, inputs, *_models(find_models(inputs, declared)))

    def distribution(self, logits: Mapping[Model, Tensor]) -> Tensor:
        """[C, V], from the logits of all models."""
        bad_CV = None if self.bad is None else logits[self.bad]
        return distribution(logits[self.good], bad_CV, self.declared.decoding)

    def leaves(self) -> dict[str, str]:
        """What is declared, for people."""
        decoding = {name: value for name, value in self.declared.decoding.canonical().items() if name not in NEUTRAL}
        bad = self.declared.bad.canonical() if self.declared.bad is not None else None
        trained = {"BAD's training": self.inputs["bad"].name[:12]} if "bad" in self.inputs else {}
        return {
            "synthetic.bad": canonical_json(bad),
            **{f"synthetic.decoding.{name}": canonical_json(value) for name, value in decoding.items()},
            **trained,
        }

    def shares_good(self, other: Arm) -> bool:
        return all(self.inputs[name] == other.inputs[name] for name in ("good", "select"))


def _models(found: Models) -> tuple[Model, Model | None]:
    if found.dropout is not None:
        return Model(found.good), Model(found.good, found.dropout)
    return Model(found.good), None if found.bad is None else Model(found.bad)


def manipulation(ctx: StageContext) -> dict[str, Any]:
    """Writes no file. Returns for every two distributions, numbered as declared, their mean total variation and both
    Kullback-Leibler divergences, null where one gives words that the other never gives; and the least variation.

    Raises `RunError` where two with the same GOOD are one distribution, or logits are not finite.
    """
    torch.set_num_threads(threads_of(ctx))
    arms = [Arm.of(ctx, number) for number in range(len(ctx.params["distributions"]))]
    models = list(dict.fromkeys(model for arm in arms for model in (arm.good, arm.bad) if model is not None))
    vocabulary = Vocabulary.load(ctx.inputs["tokenizer"])
    length = min(LENGTH, *(read_architecture(model.checkpoint).context for model in models))
    contexts = read_contexts(ctx.inputs["corpus"], vocabulary, CONTEXTS, length)
    behind: dict[Model, list[Tensor]] = {}
    for checkpoint in dict.fromkeys(model.checkpoint for model in models):  # logits need less room than all the weights
        alike = [model for model in models if model.checkpoint == checkpoint]
        behind |= _logits(alike, contexts, vocabulary, ctx.params["precision"], ctx.numerics.device)
    sums = Sums(len(arms), ctx.numerics.device)
    for of_models in zip(*behind.values(), strict=True):
        logits = dict(zip(behind, of_models, strict=True))
        sums.add([arm.distribution(logits) for arm in arms])
    _check_finite(arms, sums)
    pairs = [sums.pair(one, other) for one, other in combinations(range(len(arms)), 2)]
    _check_apart(arms, pairs, sums.positions)
    ctx.costs["tokens"] = float(sums.positions * len(models))
    least = min(pair["total_variation"] for pair in pairs)
    return {"contexts": len(contexts), "positions": sums.positions, "least_total_variation": least, "pairs": pairs}


def _logits(
    models: Sequence[Model], contexts: Sequence[Sequence[int]], vocabulary: Vocabulary, precision: str, device: str
) -> dict[Model, list[Tensor]]:
    """Of models with the weights of one checkpoint, which are read once and given back, word by word [C, V]."""
    weights = Weights.load(models[0].checkpoint, precision, device)
    dropouts = {one: None if one.dropout is None else AttentionDropout(one.dropout, SEED) for one in models}
    return {one: _behind_every_word(weights, dropout, contexts, vocabulary) for one, dropout in dropouts.items()}


@torch.inference_mode()
def _behind_every_word(
    weights: Weights, dropout: AttentionDropout | None, contexts: Sequence[Sequence[int]], vocabulary: Vocabulary
) -> list[Tensor]:
    """Word by word the logits [C, V] behind those contexts that have a word there: steps of a generation, but that the
    words are those of the text."""
    device = weights.embedding_VE.device
    words_CT = pad_sequence([torch.tensor(ids) for ids in contexts], batch_first=True).to(device)
    ends_C = torch.tensor([len(ids) for ids in contexts], device=device)
    barred = torch.tensor(vocabulary.barred(weights.shape.vocab_size), device=device)
    numbers_C = torch.arange(len(contexts), device=device)
    decoder = Decoder(weights, len(contexts), words_CT.shape[1], dropout)
    decoder.begin(numbers_C.tolist(), decoder.read(words_CT[:, :0], numbers_C), numbers_C, numbers_C)
    return [
        decoder.step(words_C).index_fill_(-1, barred, -math.inf)[at < ends_C]
        for at, words_C in enumerate(words_CT.unbind(dim=1))
    ]


class Sums:
    """Differences of G distributions, summed over positions."""

    def __init__(self, count: int, device: str) -> None:
        self.positions = 0
        zeros = torch.zeros((3, count, count), dtype=torch.float64, device=device)
        self.variation_GG, self.divergence_GG, self.outside_GG = zeros

    @torch.inference_mode()
    def add(self, distributions: Sequence[Tensor]) -> None:
        """[C, V] each. Parts of the contexts are compared at a time, however large the vocabulary is."""
        rows, words = distributions[0].shape
        part = max(1, AT_ONCE // (len(distributions) * words))
        for first in range(0, rows, part):
            shares_CGV = torch.stack([of[first : first + part] for of in distributions], dim=1).double()
            never_CGV = shares_CGV == 0.0
            logs_CGV = shares_CGV.log().masked_fill_(never_CGV, 0.0)
            entropy_G1 = (shares_CGV * logs_CGV).sum(dim=(0, 2))[:, None]
            self.variation_GG += torch.cdist(shares_CGV, shares_CGV, p=1.0).sum(dim=0) / 2
            self.divergence_GG += entropy_G1 - (shares_CGV @ logs_CGV.mT).sum(dim=0)
            self.outside_GG += (shares_CGV @ never_CGV.double().mT).sum(dim=0)
        self.positions += rows

    def pair(self, one: int, other: int) -> dict[str, Any]:
        """Means: total variation from 0 to 1, divergences in nats."""
        return {
            "of": [one, other],
            "total_variation": float(self.variation_GG[one, other]) / self.positions,
            "kl_nats": [self._divergence(one, other), self._divergence(other, one)],
        }

    def _divergence(self, one: int, other: int) -> float | None:
        """KL(one || other); None where one gives words that the other never gives."""
        summed = max(0.0, float(self.divergence_GG[one, other]))  # of equal ones rounding leaves some 1e-17
        return summed / self.positions if float(self.outside_GG[one, other]) == 0.0 else None


def _check_finite(arms: Sequence[Arm], sums: Sums) -> None:
    odd = [arm for arm, own in zip(arms, sums.variation_GG.diagonal().tolist(), strict=True) if not math.isfinite(own)]
    if odd:
        raise RunError(
            "logits are not finite behind real text, with "
            + "; ".join(", ".join(f"{path}={value}" for path, value in arm.leaves().items()) for arm in odd),
            "a checkpoint diverged or is damaged: lower the learning rate, select another step, or train in fp32",
        )


def _check_apart(arms: Sequence[Arm], pairs: Sequence[Mapping[str, Any]], positions: int) -> None:
    """Two with one GOOD differ in what is declared of BAD and decoding, so they must be two distributions."""
    faults = []
    for pair in pairs:
        one, other = (arms[number] for number in pair["of"])
        if one.shares_good(other) and pair["total_variation"] < SAME:
            here, there = one.leaves(), other.leaves()
            differing = [
                f"{path}={here.get(path, 'none')} and {there.get(path, 'none')}"
                for path in dict.fromkeys([*here, *there])
                if here.get(path) != there.get(path)
            ]
            faults.append(f"{', '.join(differing)}: total variation {pair['total_variation']:.1e}")
    if faults:
        raise RunError(
            f"arms that are declared to differ draw from one distribution (behind {positions:,} words of real text; "
            f"different ones are {SAME:.0e} apart, or more):\n" + "\n".join(faults),
            "declare values that have an effect, or leave one of the arms out; no corpus of this replicate was begun",
        )
