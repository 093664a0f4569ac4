"""The manipulation check: before a corpus is sampled, a few steps show that the decoding does what it is declared for.

An arm that draws from the same distribution as a simpler one is no arm, and a BAD that is GOOD contrasts with nothing.
Both are errors, found in seconds and not in the results of a finished ablation.
"""

# B rows, V vocabulary

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from ablab.errors import RunError
from ablab.generate.decoder import step_models
from ablab.generate.decoding import contrast, invert, plausible_head, truncate
from ablab.generate.draws import uniforms
from ablab.generate.rows import Rows
from ablab.generate.sampler import Sampler
from ablab.spec.synthetic import Decoding

STEPS: Final = 4
SAME: Final = 1e-5
"""Total variation (0 to 1) up to which two distributions count as one: some rounding of float32."""


@torch.inference_mode()
def probe(sampler: Sampler) -> dict[str, Any]:
    """How far the declared distribution is from simpler ones: mean total variation over the first steps of the first
    rows, which are sampled as declared.

    `from_good` is to GOOD's own, `from_masked` (null without contrast) to the same at strength 0, `good_from_bad` (the
    same) between the two models. Raises `RunError` where a difference that is declared is none.
    """
    how, steps = sampler.decoding, min(STEPS, sampler.new_tokens)
    numbers_B = np.arange(sampler.good.rows)
    draws_BN = torch.from_numpy(uniforms(sampler.seed, numbers_B[:, None], np.arange(sampler.new_tokens)))
    rows = Rows(sampler.models, numbers_B, sampler.prompts_PS, draws_BN)
    barred = torch.tensor(sampler.vocabulary.barred(sampler.good.shape.vocab_size), device=sampler.good.device)
    sums = torch.zeros(3, dtype=torch.float64)
    for _ in range(steps):
        good_BV, bad_BV = step_models(sampler.good, sampler.bad, rows.words_B)
        for logits_BV in (good_BV, bad_BV):
            if logits_BV is not None:
                logits_BV.index_fill_(-1, barred, -math.inf)
        declared_BV = distribution(good_BV, bad_BV, how)
        sums[0] += _distance(declared_BV, good_BV.softmax(dim=-1))
        if bad_BV is not None:
            sums[1] += _distance(declared_BV, distribution(good_BV, None, how.model_copy(update={"strength": 0.0})))
            sums[2] += _distance(good_BV.softmax(dim=-1), bad_BV.softmax(dim=-1))
        words_B = invert(declared_BV.log(), rows.uniforms_QN[rows.places()])
        rows.take(words_B, [])
    found = (sums / steps).tolist()
    if math.isfinite(sum(found)):  # else the shard says which logits are not finite
        _check(how, sampler.bad is not None, found)
    names = ("from_good", "from_masked", "good_from_bad")
    return {
        name: value if sampler.bad is not None or name == "from_good" else None
        for name, value in zip(names, found, strict=True)
    }


def distribution(good_BV: Tensor, bad_BV: Tensor | None, how: Decoding) -> Tensor:
    """What a word is drawn from: [B, V]."""
    head_BV = plausible_head(good_BV, how.alpha, good_BV.amax(dim=-1, keepdim=True))
    # a barred word is -inf in both models, and -inf - -inf is no number
    finite_BV = None if bad_BV is None else bad_BV.where(head_BV, 0.0)
    return truncate(contrast(good_BV, finite_BV, head_BV, how), how.top_k, how.top_p).softmax(dim=-1)


def _distance(one_BV: Tensor, other_BV: Tensor) -> float:
    """Mean over the rows of the total variation: half the summed difference."""
    return float((one_BV - other_BV).abs().double().sum(dim=-1).mean()) / 2


def _check(how: Decoding, contrasted: bool, found: list[float]) -> None:
    from_good, from_masked, good_from_bad = found
    if contrasted and good_from_bad < SAME:
        raise RunError(
            f"BAD's distribution is GOOD's (total variation {good_from_bad:.1e} in a probe), so there is no contrast",
            "declare another BAD: an earlier step, a smaller model, or more dropout",
        )
    if contrasted and from_masked < SAME:
        raise RunError(
            f"decoding.strength={how.strength} changes nothing (total variation to strength 0: {from_masked:.1e} in a "
            "probe)",
            "raise it, or lower decoding.alpha, whose head leaves one word",
        )
    manipulated = how.alpha > 0.0 or how.top_k is not None or how.top_p is not None or how.temperature != 1.0
    if not contrasted and manipulated and from_good < SAME:
        raise RunError(
            f"the decoding changes nothing: alpha={how.alpha}, top_k={how.top_k}, top_p={how.top_p}, temperature="
            f"{how.temperature} give GOOD's own distribution (total variation {from_good:.1e} in a probe)",
            "declare values that have an effect, or none (ancestral sampling)",
        )
