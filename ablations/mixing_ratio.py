"""How much synthetic text? Shares from 0 to 1; the study's findings 1 and 6."""

from __future__ import annotations

from ablab.spec import Ablation, Claim, Design
from experiments.arms import A_A, PAPER, SHARE, SMALL, SMOKE, Scale, mixture


def claims(little: float, much: float) -> tuple[Claim, ...]:
    """The default share against none, less and more."""
    default = f"share-{SHARE}"
    found = [
        ("some-beats-none", "30 % synthetic text beats none (finding 1)", default, "real-only", "aggregate", "greater"),
        ("some-beats-much", "30 % beats a larger share (finding 6)", default, f"share-{much}", "aggregate", "greater"),
        ("only-synthetic", "Synthetic text alone is worse than 30 %", "share-1.0", default, "aggregate", "less"),
        (
            "much-costs-perplexity",
            "A large share raises perplexity above that of 30 % (the study's sweep)",
            f"share-{much}",
            default,
            "perplexity",
            "greater",
        ),
    ]
    if little < SHARE:
        words = "30 % beats a smaller share (finding 6)"
        found.insert(1, ("some-beats-little", words, default, f"share-{little}", "aggregate", "greater"))
    return tuple(
        Claim.model_validate(
            {
                "id": id_,
                "statement": statement,
                "factor": "mixture.share",
                "metric": metric,
                "arm": arm,
                "against": against,
                "direction": direction,
                "margin": 0.0,
            }
        )
        for id_, statement, arm, against, metric, direction in found
    )


def design(scale: Scale, shares: tuple[float, ...], much: float) -> Design:
    """One contrastive corpus, mixed in by ever larger shares; the control is share 0."""
    return Design(
        control="real-only",
        recipe=scale.recipe,
        arms=(*(mixture(f"share-{share}", scale.contrastive(), share) for share in shares), A_A),
        replicates=scale.pairs(),
        claims=claims(shares[0], much),
    )


SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

ABLATION = Ablation(
    name="mixing-ratio",
    version=2,
    question="Which share of synthetic text is best, from none to nothing else?",
    designs={
        "smoke": design(SMOKE, (0.3, 0.6, 1.0), much=0.6),
        "small": design(SMALL, SHARES, much=0.9),
        "paper": design(PAPER, SHARES, much=0.9),
    },
)
