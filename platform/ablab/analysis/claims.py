"""Verdicts: what the results say about every declared claim.

A claim says that the difference lies beyond its margin: above it (greater), below its negative (less), or either
(different). It is supported when the whole 95 % interval is what the claim says, contradicted when no value in it
is, inconclusive otherwise. With margin 0 that is: the interval lies on the claim's side of 0, on the other, or
on both; 'different' with margin 0 cannot be contradicted, as no interval shows that nothing differs. Between arms whose
corpora are identical no claim is judged.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ablab.analysis.comparison import ClaimResult, Effect, Interval, Verdict
from ablab.analysis.paired import p_beyond
from ablab.analysis.students import holm
from ablab.spec.ablation import Claim

ALPHA = 0.05
IDENTICAL = "their corpora are identical: the manipulation did nothing"


def judge(
    claims: Sequence[Claim],
    effects: Sequence[Effect],
    replicates: int,
    identical: Collection[frozenset[str]] = (),
) -> tuple[ClaimResult, ...]:
    """A verdict for every claim. Holm's family is all declared claims; one not run or not judged counts as p = 1.

    Args:
        claims: of one design.
        effects: must hold each claim's (arm, against, metric) unless it was not run.
        replicates: how many an effect rests on when every result is there.
        identical: pairs of arms whose corpora are the same words.
    """
    found = {(effect.arm, effect.against, effect.metric): effect for effect in effects}
    matched = [found.get((claim.arm, claim.against, claim.metric)) for claim in claims]
    void = [frozenset({claim.arm, claim.against}) in identical for claim in claims]
    p_values = [
        None if is_void else claim_p(claim, effect)
        for claim, effect, is_void in zip(claims, matched, void, strict=True)
    ]
    adjusted = holm([1.0 if p is None else p for p in p_values])
    return tuple(
        _result(claim, effect, p, None if p is None else p_holm, replicates, is_void)
        for claim, effect, p, p_holm, is_void in zip(claims, matched, p_values, adjusted, void, strict=True)
    )


def verdict(claim: Claim, effect: Effect | None) -> Verdict:
    """See the module's text. An effect without an interval, or in which nothing varies, is inconclusive."""
    if effect is None:
        return "not run"
    if effect.interval is None or effect.interval.se == 0.0:
        return "inconclusive"
    return _position(claim, effect.interval)


def _position(claim: Claim, interval: Interval) -> Verdict:
    margin, low, high = claim.margin, interval.low, interval.high
    above, below = low > margin, high < -margin
    if claim.direction == "different":
        inside = -margin < low and high < margin
        return "supported" if above or below else "contradicted" if inside else "inconclusive"
    if claim.direction == "greater":
        return "supported" if above else "contradicted" if high < margin else "inconclusive"
    return "supported" if below else "contradicted" if low > -margin else "inconclusive"


def claim_p(claim: Claim, effect: Effect | None) -> float | None:
    """Two-sided p against the edge of what the claim says; the effect's own p when the margin is 0."""
    if effect is None or effect.interval is None:
        return None if effect is None else effect.p
    if claim.margin == 0.0 or effect.interval.se == 0.0:
        return effect.p
    if claim.direction == "different":
        beyond = abs(effect.estimate) - claim.margin
        return 1.0 if beyond <= 0.0 else p_beyond(beyond, 0.0, effect.interval)
    edge = claim.margin if claim.direction == "greater" else -claim.margin
    return p_beyond(effect.estimate, edge, effect.interval)


def _result(
    claim: Claim, effect: Effect | None, p: float | None, p_holm: float | None, replicates: int, is_void: bool
) -> ClaimResult:
    found: Verdict = "not judged" if is_void else verdict(claim, effect)
    return ClaimResult(
        id=claim.id,
        statement=claim.statement,
        metric=claim.metric,
        arm=claim.arm,
        against=claim.against,
        direction=claim.direction,
        margin=claim.margin,
        verdict=found,
        p=p,
        p_holm=p_holm,
        effect=effect,
        words=_words(claim, effect, found, p_holm, replicates),
    )


def _words(claim: Claim, effect: Effect | None, found: Verdict, p_holm: float | None, replicates: int) -> str:
    if found == "not judged":
        return f"not judged: {claim.arm} and {claim.against}: {IDENTICAL}"
    if effect is None:
        return f"not run: {claim.arm} and {claim.against} have no results to pair"
    unit = effect.unit if effect.unit == "%" else f" {effect.unit}"
    parts = [f"{found}: {effect.estimate:+z.{_decimals(effect)}f}{unit}, {_interval_words(effect)}"]
    if claim.margin > 0.0:
        parts.append(_margin_words(claim, unit))
    if found == "inconclusive" and effect.detectable is not None:
        parts.append(f"this run could have detected {effect.detectable:.{_decimals(effect)}f}")
    if found in ("supported", "contradicted") and p_holm is not None and p_holm > ALPHA:
        parts.append(f"by itself; not after Holm's correction over all claims (p = {p_holm:.2g})")
    if effect.replicates < replicates:
        parts.append(f"from {effect.replicates} of {replicates} replicates")
    return "; ".join(parts)


def _interval_words(effect: Effect) -> str:
    interval = effect.interval
    if interval is None:
        return "no interval: " + (
            "one replicate cannot show a spread" if effect.replicates == 1 else "too little varies to estimate a spread"
        )
    if interval.se == 0.0:
        return "no spread: the arms answer every item alike" if effect.items else "no spread: the arms are equal"
    scope = " for these two models only (one replicate shows no seed noise)" if effect.replicates == 1 else ""
    digits = f"z.{_decimals(effect)}f"
    return f"95 % interval [{interval.low:{digits}}, {interval.high:{digits}}]{scope}"


def _decimals(effect: Effect) -> int:
    """Two where the whole interval lies below one point."""
    bounds = (effect.interval.low, effect.interval.high) if effect.interval else ()
    return 2 if max(map(abs, (effect.estimate, *bounds))) < 1.0 and effect.estimate != 0.0 else 1


def _margin_words(claim: Claim, unit: str) -> str:
    if claim.direction == "different":
        return f"claimed: more than {claim.margin:g}{unit} either way"
    return f"claimed: {'above +' if claim.direction == 'greater' else 'below -'}{claim.margin:g}{unit}"
