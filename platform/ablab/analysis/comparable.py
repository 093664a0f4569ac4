"""What must be equal before two results may be compared: items, precision, tokenizer, held-out text, selection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ablab.analysis.results import ReplicateResult, same_items
from ablab.errors import InputError

REASONS = {
    "precision": "models were scored in different precision",
    "test_tokens": "perplexity was measured on different amounts of held-out text",
    "suite": "models were scored on different suites",
    "tokenizer": "models have different tokenizers, so their perplexities have different units",
    "tokens": "perplexity was measured on different held-out text",
}
NAMED = 3  # results of one reason that are named


def check_comparable(results: Sequence[tuple[str, ReplicateResult]]) -> None:
    """Compare every (label, result) with the first. Raises `InputError` with every reason, each once."""
    if not results:
        return
    first_label, first = results[0]
    reasons: dict[str, list[str]] = {}
    for label, result in results[1:]:
        for why in _differences(result, first):
            reasons.setdefault(why, []).append(label)
    if reasons:
        raise InputError([f"{_some(of)} cannot be compared with {first_label}: {why}" for why, of in reasons.items()])


def _some(labels: Sequence[str]) -> str:
    more = len(labels) - NAMED
    return ", ".join(labels[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _differences(one: ReplicateResult, other: ReplicateResult) -> Iterator[str]:
    if one.selection != other.selection:
        yield (
            f"checkpoints were selected by different rules ({one.selection} and {other.selection}): the best on the "
            "suites themselves scores higher by chance alone; select both alike"
        )
    for name, reason in REASONS.items():
        if name in one.identity and name in other.identity and one.identity[name] != other.identity[name]:
            yield f"{reason} ({_short(one.identity[name])} and {_short(other.identity[name])}); evaluate both alike"
    if one.language_modelling.tokens != other.language_modelling.tokens:
        yield (
            f"perplexity was measured on {one.language_modelling.tokens} and {other.language_modelling.tokens} tokens; "
            "evaluate both on the same text"
        )
    yield from _item_differences(one, other)


def _item_differences(one: ReplicateResult, other: ReplicateResult) -> Iterator[str]:
    if one.groups() != other.groups():
        yield f"suites or groups differ ({_names(one)} and {_names(other)}); evaluate both on the same suites"
        return
    if one.without_items != other.without_items:
        yield (
            f"suites whose items have no stored values differ ({_lacking(one)} and {_lacking(other)}): one was scored "
            "by an earlier version; evaluate both alike"
        )
    if not same_items(one, other):
        extra, lacking = np.setdiff1d(one.items, other.items), np.setdiff1d(other.items, one.items)
        example = str([*extra, *lacking, *one.items][0])
        yield (
            f"items differ ({len(extra)} more, {len(lacking)} fewer, for example {example}); "
            "evaluate both on the same items"
        )


def _lacking(result: ReplicateResult) -> str:
    return ", ".join(sorted(result.without_items)) or "none"


def _names(result: ReplicateResult) -> str:
    return ", ".join(f"{group}: {'+'.join(suites)}" for group, suites in result.groups().items())


def _short(value: object) -> str:
    text = str(value)
    return text[:12] if len(text) == 64 else text
