"""Is it the contrast, or the mask that comes with it? The study's findings 1 to 4."""

from __future__ import annotations

from ablab.spec import Ablation, Arm, Claim, Design
from experiments.arms import A_A, ALPHA, PAPER, SMALL, SMOKE, TINY, Scale, early, mixture

CLAIMS = (
    Claim(
        id="synthetic-helps",
        statement="A contrastive mixture beats real text alone on the aggregate (finding 1)",
        factor="mixture.share",
        metric="aggregate",
        arm="contrastive",
        against="real-only",
        direction="greater",
        margin=0.0,
    ),
    Claim(
        id="ancestral-helps",
        statement="So does an ancestral mixture: any synthetic text helps (finding 1)",
        factor="mixture.share",
        metric="aggregate",
        arm="ancestral",
        against="real-only",
        direction="greater",
        margin=0.0,
    ),
    Claim(
        id="contrast-helps-reasoning",
        statement="The gain of contrastive decoding is one in reasoning (finding 2)",
        factor="mixture.share",
        metric="reasoning",
        arm="contrastive",
        against="real-only",
        direction="greater",
        margin=0.0,
    ),
    Claim(
        id="ancestral-perplexity",
        statement="An ancestral mixture lowers perplexity below real text alone (finding 3)",
        factor="mixture.share",
        metric="perplexity",
        arm="ancestral",
        against="real-only",
        direction="less",
        margin=0.0,
    ),
    Claim(
        id="mask-costs-perplexity",
        statement="The mask raises perplexity above that of ancestral sampling (finding 3)",
        factor="synthetic.decoding.alpha",
        metric="perplexity",
        arm="masked-only",
        against="ancestral",
        direction="greater",
        margin=0.0,
    ),
    Claim(
        id="mask-costs-grammar",
        statement="Ancestral sampling gives better grammar than the mask (finding 3)",
        factor="synthetic.decoding.alpha",
        metric="linguistic",
        arm="masked-only",
        against="ancestral",
        direction="less",
        margin=0.0,
    ),
    Claim(
        id="contrast-not-mask",
        statement="The contrast, not the mask, improves reasoning (finding 4)",
        factor="synthetic.decoding.strength",
        metric="reasoning",
        arm="contrastive",
        against="masked-only",
        direction="greater",
        margin=0.0,
    ),
)


def design(scale: Scale, a_a: bool = True) -> Design:
    """Four arms: real text only, ancestral sampling, the mask alone, the mask and the contrast; and A/A."""
    contrast = {"synthetic.decoding.strength": 1.0, "synthetic.bad": early(scale.bad_step)}
    return Design(
        control="real-only",
        recipe=scale.recipe,
        arms=(
            mixture("ancestral", scale.ancestral()),
            Arm(name="masked-only", of="ancestral", edits={"synthetic.decoding.alpha": ALPHA}),
            Arm(name="contrastive", of="masked-only", edits=contrast),
            *((A_A,) if a_a else ()),
        ),
        replicates=scale.pairs(),
        claims=CLAIMS,
    )


ABLATION = Ablation(
    name="contrastive-vs-masked",
    version=3,
    question="Does the contrast improve retraining, or does the plausibility mask alone explain it?",
    designs={
        "tiny": design(TINY, a_a=False),
        "smoke": design(SMOKE),
        "small": design(SMALL),
        "paper": design(PAPER),
    },
)
