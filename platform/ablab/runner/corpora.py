"""What the synthetic corpora of a design are like, from the results of their generate and describe stages."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from ablab.store import Store
from ablab.store.executions import Roles

GENERATED = ("tokens", "head_size_mean", "argmax_changed")
DESCRIBED = ("documents", "mean_words", "distinct_2", "overlap_13gram")


def corpus_numbers(roles: Mapping[str, tuple[str, str]], store: Store) -> dict[str, float]:
    """Numbers of the synthetic corpus of one arm and replicate, by name; {} where there is none.

    tokens sampled; head_size_mean words in the plausible head; argmax_changed share of steps whose best word the
    contrast changed; documents; mean_words of a document; distinct_2 share of different bigrams; overlap_13gram share
    of 13-grams that the real text holds; true_statements share of decidable statements that are true of the world.
    """
    if not {"generate", "describe"} <= set(roles) or not all(store.has(*roles[r]) for r in ("generate", "describe")):
        return {}
    generated, described = store.result(*roles["generate"]), store.result(*roles["describe"])
    numbers = {name: generated[name] for name in GENERATED} | {name: described[name] for name in DESCRIBED}
    numbers["true_statements"] = (described["consistency"] or {}).get("rate")
    return {name: float(value) for name, value in numbers.items() if value is not None}


def corpora_table(roles: Roles, store: Store) -> list[dict[str, Any]]:
    """One row per arm with synthetic text: the mean of every number over its finished corpora.

    held_out_overlap: by split of the real corpus, the share of its 13-grams that the training text holds (law 7).
    """
    rows = []
    for arm, replicates in roles.items():
        found = [numbers for one in replicates if (numbers := corpus_numbers(one, store))]
        if found:
            names = [name for name in found[0] if all(name in numbers for numbers in found)]
            means = {name: fmean(numbers[name] for numbers in found) for name in names}
            rows.append(
                {"arm": arm, "corpora": len(found), **means, "held_out_overlap": _overlap(replicates[0], store)}
            )
    return rows


def _overlap(roles: Mapping[str, tuple[str, str]], store: Store) -> dict[str, float]:
    overlap: dict[str, float] = store.result(*roles["corpus"])["overlap"] if store.has(*roles["corpus"]) else {}
    return overlap
