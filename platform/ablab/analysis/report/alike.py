"""What two arms have in common: how far their distributions were apart before anything was sampled, and how much of
what they wrote is the same, since their sequences of one number and seed begin alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from statistics import fmean

import numpy as np
import numpy.typing as npt

from ablab.analysis.apart import Apart
from ablab.analysis.corpora import Stage, percent
from ablab.analysis.report.contents import NOTHING
from ablab.analysis.report.tables import Table
from ablab.store import Store
from ablab.store.executions import Roles

# S sequences, N new positions
COMPARED = 10_000  # of every corpus the first sequences

NOTE = (
    f"Of sequences of one number and generation seed, the first {COMPARED:,} at most: the share of new words before "
    "the first that differs, and the share of sequences without a difference. They continue one prompt and draw with "
    "the same random numbers, so arms differ only where their distributions do."
)


APART_NOTE = (
    "Measured before any corpus was begun: what an arm declares of BAD and decoding, behind every word of the same "
    "real text from the seed split; means over positions and replicates. Total variation: from 0 (one distribution: an "
    "error where GOOD is the same) to 1. KL: Kullback-Leibler divergence from the first to the second, and back; "
    "without a value where the one gives words that the other never gives."
)


def apart_table(found: Sequence[Apart]) -> Table | None:
    """A row for every two distributions; None without any."""
    rows = tuple(
        (", ".join(one.arms), ", ".join(one.others), f"{one.total_variation:.4f}", *map(_nats, one.kl_nats))
        for one in found
    )
    head = ("arm", "and", "total variation", "KL, nats", "KL back, nats")
    title = "How far the arms' distributions are apart, before sampling"
    return Table("apart", title, head, rows, left=2, notes=(APART_NOTE,)) if rows else None


def _nats(divergence: float | None) -> str:
    return NOTHING if divergence is None else f"{divergence:.4f}"


def alike_table(arms: Sequence[str], roles: Roles, store: Store) -> Table | None:
    """A row for every two arms with corpora of their own; means over the replicates. None where there are no two."""
    sharing: dict[tuple[str | None, ...], list[str]] = {}
    for arm in arms:
        keys = tuple(_made(one, store) for one in roles.get(arm, ()))
        if any(keys):
            sharing.setdefault(keys, []).append(arm)
    rows = []
    for (one, names), (other, others) in combinations(sharing.items(), 2):
        found = list(_alike(one, other, store))
        if found:
            means = (percent(fmean(values)) for values in zip(*found, strict=True))
            rows.append((", ".join(names), ", ".join(others), *means))
    head = ("arm", "and", "words before the first difference", "equal sequences")
    return Table("alike", "What two arms have in common", head, tuple(rows), left=2, notes=(NOTE,)) if rows else None


def _made(one: Mapping[str, Stage], store: Store) -> str | None:
    """Key of the corpus of an arm and replicate that is there."""
    return one["generate"][1] if "generate" in one and store.has(*one["generate"]) else None


def _alike(one: Sequence[str | None], other: Sequence[str | None], store: Store) -> Iterator[tuple[float, float]]:
    """Of every replicate whose two corpora can be compared: both shares."""
    for key, another in zip(one, other, strict=False):
        if key is not None and another is not None and _common_draws(key, store) == _common_draws(another, store):
            one_SN, other_SN = _new_words(key, store), _new_words(another, store)
            count = min(len(one_SN), len(other_SN))
            differs_SN = one_SN[:count] != other_SN[:count]
            equal_S = ~differs_SN.any(axis=1)
            before_S = np.where(equal_S, differs_SN.shape[1], differs_SN.argmax(axis=1))
            yield float(before_S.mean()) / differs_SN.shape[1], float(equal_S.mean())


def _common_draws(key: str, store: Store) -> tuple[object, ...]:
    """What two corpora must share so that their sequences of one number continue one prompt with the same draws."""
    identity = store.identity("generate", key)
    params = identity["params"]
    return params["generation_seed"], params["prompts"], identity["inputs"]["corpus"], identity["inputs"]["tokenizer"]


def _new_words(key: str, store: Store) -> npt.NDArray[np.unsignedinteger]:
    """[S, N], read no farther than is compared."""
    result, prompts = store.result("generate", key), store.identity("generate", key)["params"]["prompts"]
    dtype = np.dtype(result["dtype"]).newbyteorder("<")
    width, count = prompts["tokens"] + prompts["new_tokens"], min(result["sequences"], COMPARED)
    words = np.fromfile(store.directory("generate", key) / "sequences.bin", dtype, count * width)
    return words.reshape(count, width)[:, prompts["tokens"] :]
