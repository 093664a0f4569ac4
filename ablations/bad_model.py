"""Which BAD model is best to contrast GOOD with? The study's finding 5."""

from __future__ import annotations

from typing import Any

from ablab.spec import Ablation, Claim, Design
from experiments.arms import A_A, PAPER, SMALL, SMOKE, Scale, dropout, early, mixture, smaller


def claims(best: int, latest: int | None, size: str, p: float) -> tuple[Claim, ...]:
    """An early checkpoint against the other families, and against one that is less early."""
    rivals = [
        ("smaller", f"smaller-{size}", "synthetic.bad", "a smaller model"),
        ("dropout", f"dropout-{p}", "synthetic.bad", "attention dropout"),
    ]
    if latest is not None:
        rivals.append(("late", f"early-{latest}", "synthetic.bad.step", "a later checkpoint"))
    over_rivals = (
        Claim(
            id=f"early-beats-{name}",
            statement=f"An early checkpoint is a better BAD than {words} (finding 5)",
            factor=factor,
            metric="aggregate",
            arm=f"early-{best}",
            against=against,
            direction="greater",
            margin=0.0,
        )
        for name, against, factor, words in rivals
    )
    over_control = Claim(
        id="early-beats-real",
        statement="An early checkpoint as BAD beats real text alone (findings 1 and 5)",
        factor="mixture.share",
        metric="aggregate",
        arm=f"early-{best}",
        against="real-only",
        direction="greater",
        margin=0.0,
    )
    return (*over_rivals, over_control)


def design(
    scale: Scale, steps: tuple[int, ...], sizes: tuple[str, ...], drops: tuple[float, ...], claimed: tuple[str, float]
) -> Design:
    """Contrastive mixtures that differ in BAD alone. claimed: the size and the dropout of the claims."""
    bads: dict[str, dict[str, Any]] = {
        **{f"early-{step}": early(step) for step in steps},
        **{f"smaller-{size}": smaller(size) for size in sizes},
        **{f"dropout-{p}": dropout(p) for p in drops},
    }
    latest = steps[-1] if len(steps) > 1 else None
    return Design(
        control="real-only",
        recipe=scale.recipe,
        arms=(*(mixture(name, scale.contrastive(bad)) for name, bad in bads.items()), A_A),
        replicates=scale.pairs(),
        claims=claims(scale.bad_step, latest, *claimed),
    )


ABLATION = Ablation(
    name="bad-model",
    version=2,
    question="Which BAD model makes the best synthetic text: an early checkpoint, a smaller model, attention dropout?",
    designs={
        "smoke": design(SMOKE, (100,), ("r10",), (0.3,), ("r10", 0.3)),
        "small": design(SMALL, (200, 400, 600, 800), ("r10", "r20", "r50", "r100"), (0.1, 0.3, 0.5, 0.7), ("r20", 0.5)),
        "paper": design(
            PAPER, (500, 1_000, 1_500, 2_000), ("r10", "r20", "r50", "r100"), (0.1, 0.3, 0.5, 0.7), ("r20", 0.5)
        ),
    },
)
