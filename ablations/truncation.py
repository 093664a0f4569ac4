"""Does truncation (top-k, top-p) help contrastive and ancestral sampling? The study's finding 6."""

from __future__ import annotations

from typing import Any

from ablab.spec import Ablation, Arm, Claim, Design
from experiments.arms import A_A, PAPER, SMALL, SMOKE, Scale, mixture

Cut = tuple[str, dict[str, Any]]


def top_k(k: int) -> Cut:
    """Keep the k best scores."""
    return f"k{k}", {"synthetic.decoding.top_k": k}


def top_p(p: float) -> Cut:
    """Keep the smallest set of scores with the probability p."""
    return f"p{p:.2f}", {"synthetic.decoding.top_p": p}


def claims(light: str, strong: str) -> tuple[Claim, ...]:
    """Light truncation adds a little to contrastive decoding; strong truncation costs ancestral sampling."""
    return (
        Claim(
            id="light-helps-contrastive",
            statement=f"Light truncation ({light}) adds to contrastive decoding (finding 6)",
            factor="synthetic.decoding.top_k",
            metric="aggregate",
            arm=f"contrastive-{light}",
            against="contrastive",
            direction="greater",
            margin=0.0,
        ),
        Claim(
            id="truncation-costs-ancestral",
            statement=f"Truncation ({strong}) raises the perplexity that ancestral sampling gives (the study's sweep)",
            factor="synthetic.decoding.top_k",
            metric="perplexity",
            arm=f"ancestral-{strong}",
            against="ancestral",
            direction="greater",
            margin=0.0,
        ),
    )


def design(scale: Scale, cuts: tuple[Cut, ...], light: str, strong: str) -> Design:
    """Contrastive and ancestral mixtures, each without truncation and with every cut."""
    arms = []
    for name, synthetic in (("contrastive", scale.contrastive()), ("ancestral", scale.ancestral())):
        arms.append(mixture(name, synthetic))
        arms += [Arm(name=f"{name}-{cut}", of=name, edits=edits) for cut, edits in cuts]
    return Design(
        control="real-only",
        recipe=scale.recipe,
        arms=(*arms, A_A),
        replicates=scale.pairs(),
        claims=claims(light, strong),
    )


CUTS = (top_k(50), top_k(100), top_k(200), top_p(0.90), top_p(0.95), top_p(0.97))

ABLATION = Ablation(
    name="truncation",
    version=2,
    question="Does truncating the candidates (top-k, top-p) improve the text, with and without contrast?",
    designs={
        "smoke": design(SMOKE, (top_k(20),), light="k20", strong="k20"),
        "small": design(SMALL, CUTS, light="k200", strong="k50"),
        "paper": design(PAPER, CUTS, light="k200", strong="k50"),
    },
)
