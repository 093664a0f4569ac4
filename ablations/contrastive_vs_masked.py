"""Is it the contrast, or the mask that comes with it? (The study's finding 4, and 1 and 3 beside it.)"""

from __future__ import annotations

from ablab.spec import Ablation, Arm, Claim, Design, Recipe, Replicate
from experiments.scales import paper, small, smoke, tiny

SHARE = 0.3  # the study's default


A_A = Arm(name="real-only-again", edits={}, seed_offset=1_000)  # the control with other seeds: the noise floor

CLAIMS = (
    Claim(
        id="contrast-not-mask",
        statement="The contrast, not the mask, improves reasoning",
        factor="synthetic.decoding.strength",
        metric="reasoning",
        arm="contrastive",
        against="masked-only",
        direction="greater",
        margin=0.0,
    ),
    Claim(
        id="synthetic-helps",
        statement="A contrastive mixture improves reasoning over real text alone",
        factor="mixture.share",
        metric="reasoning",
        arm="contrastive",
        against="real-only",
        direction="greater",
        margin=0.0,
    ),
    Claim(
        id="mask-alone",
        statement="The mask alone changes grammar against ancestral sampling",
        factor="synthetic.decoding.alpha",
        metric="linguistic",
        arm="masked-only",
        against="ancestral",
        direction="different",
        margin=0.0,
    ),
    Claim(
        id="ancestral-perplexity",
        statement="An ancestral mixture lowers perplexity below real text alone",
        factor="mixture.share",
        metric="perplexity",
        arm="ancestral",
        against="real-only",
        direction="less",
        margin=0.0,
    ),
)


def design(
    recipe: Recipe, bad_step: int, tokens: int, prompt: int, chunk_words: int, replicates: int, a_a: bool = False
) -> Design:
    """Four arms: real text only, ancestral sampling, the mask alone, the mask and the contrast."""
    ancestral = {
        "bad": None,
        "decoding": {
            "strength": 0.0,
            "alpha": 0.0,
            "temperature": 1.0,
            "bad_temperature": 1.0,
            "top_k": None,
            "top_p": None,
            "stop_at_eos": False,
            "keep_prompt": True,
        },
        "prompts": {
            "tokens": prompt,
            "chunk_words": chunk_words,
            "new_tokens": min(400, recipe.model.context - prompt),
        },
        "tokens": tokens,
    }
    return Design(
        control="real-only",
        recipe=recipe,
        arms=(
            Arm(name="ancestral", edits={"synthetic": ancestral, "mixture.share": SHARE}),
            Arm(name="masked-only", of="ancestral", edits={"synthetic.decoding.alpha": 0.1}),
            Arm(
                name="contrastive",
                of="masked-only",
                edits={
                    "synthetic.decoding.strength": 1.0,
                    "synthetic.bad": {"kind": "early-checkpoint", "step": bad_step},
                },
            ),
            *((A_A,) if a_a else ()),
        ),
        replicates=tuple(Replicate(train_seed=42 + index, generation_seed=1 + index) for index in range(replicates)),
        claims=CLAIMS,
    )


ABLATION = Ablation(
    name="contrastive-vs-masked",
    version=1,
    question="Does the contrast improve retraining, or does the plausibility mask alone explain it?",
    designs={
        "tiny": design(tiny(), bad_step=5, tokens=2_000, prompt=8, chunk_words=30, replicates=2),
        "smoke": design(smoke(), bad_step=100, tokens=120_000, prompt=20, chunk_words=40, replicates=2),
        "small": design(small(), bad_step=200, tokens=2_000_000, prompt=20, chunk_words=150, replicates=3, a_a=True),
        "paper": design(paper(), bad_step=500, tokens=97_000_000, prompt=20, chunk_words=150, replicates=10, a_a=True),
    },
)
