"""What corpora are like, in numbers: the one table of what is measured, how it is called and how it is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Any

from ablab.store import Store
from ablab.store.executions import Roles

Stage = tuple[str, str]
"""Kind and key."""

LEAST_LEFT = 0.95
"""Share of the stated words of a source that is nothing to speak of: whole documents never fill them exactly."""


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def whole(value: float) -> str:
    return f"{value:,.0f}"


def _tenths(value: float) -> str:
    return f"{value:.1f}"


def _thousandths(value: float) -> str:
    return f"{value:z.3f}"  # z: rounding leaves no minus before 0


@dataclass(frozen=True)
class Measure:
    """A number of a corpus. `brief`: its title in a terminal, which shows the most telling numbers alone."""

    title: str
    shown: Callable[[float], str]
    brief: str = ""


MEASURES: Mapping[str, Measure] = {
    "tokens": Measure("tokens", whole, "tokens"),
    "documents": Measure("documents", whole, "documents"),
    "mean_words": Measure("words each", _tenths, "words each"),
    "median_words": Measure("words each, median", whole),
    "distinct_1": Measure("distinct words", percent),
    "distinct_2": Measure("distinct bigrams", percent, "distinct bigrams"),
    "distinct_3": Measure("distinct trigrams", percent),
    "overlap_13gram": Measure("13-grams of real text", percent, "13-grams of real text"),
    "overlap_train": Measure("13-grams of training text", percent),
    "overlap_seed": Measure("13-grams of prompt text", percent),
    "evaluation_13gram": Measure("evaluation 13-grams it holds", percent),
    "repeated_4grams": Measure("repeated 4-grams", percent),
    "compression": Measure("bytes per compressed byte", lambda value: f"{value:.2f}"),
    "head_size_mean": Measure("words in the plausible head", _tenths, "head size"),
    "argmax_changed": Measure("best word changed", percent, "best word changed"),
    "kl_good_nats": Measure("KL from GOOD, nats", _thousandths),
    "from_good": Measure("probe: distance from GOOD", _thousandths),
    "from_masked": Measure("probe: distance from strength 0", _thousandths),
    "good_from_bad": Measure("probe: distance of GOOD and BAD", _thousandths),
    "true_statements": Measure("true statements", percent, "true statements"),
}
"""By the names under which `corpus_numbers` gives them, in the order in which they are shown."""

GENERATED = ("tokens", "head_size_mean", "argmax_changed", "kl_good_nats", "repeated_4grams", "compression")
PROBE = ("from_good", "from_masked", "good_from_bad")
DESCRIBED = ("documents", "mean_words", "distinct_1", "distinct_2", "distinct_3", "overlap_13gram", "evaluation_13gram")


@dataclass(frozen=True)
class CorpusRow:
    """Numbers of the synthetic text of one arm, means over its corpora, by the names of `MEASURES`."""

    arm: str
    corpora: int
    numbers: Mapping[str, float]


def corpus_numbers(generated: Mapping[str, Any], described: Mapping[str, Any]) -> dict[str, float]:
    """From the results of the stages generate ({} for real text) and describe; what they lack is left out."""
    numbers = {name: generated.get(name) for name in GENERATED} | {name: described.get(name) for name in DESCRIBED}
    numbers |= {name: (generated.get("probe") or {}).get(name) for name in PROBE}
    numbers["median_words"] = (described.get("lengths") or {}).get("median")
    overlap = described.get("overlap") or {}
    numbers |= {"overlap_train": overlap.get("train"), "overlap_seed": overlap.get("seed")}
    numbers["true_statements"] = (described.get("consistency") or {}).get("rate")
    return {name: float(value) for name in MEASURES if (value := numbers[name]) is not None}


def numbers_of(roles: Mapping[str, Stage], store: Store) -> dict[str, float]:
    """Numbers of the synthetic corpus of one arm and replicate; {} where there is none, or not yet."""
    made = [roles[role] for role in ("generate", "describe") if role in roles and store.has(*roles[role])]
    return corpus_numbers(store.result(*made[0]), store.result(*made[1])) if len(made) == 2 else {}


def corpora_of(replicates: Sequence[Mapping[str, Stage]], store: Store) -> list[Mapping[str, Stage]]:
    """Of those replicates of an arm that have a finished, described corpus one for every different corpus."""
    different: dict[Stage, Mapping[str, Stage]] = {}
    for one in replicates:
        if numbers_of(one, store):
            different.setdefault(one["describe"], one)
    return list(different.values())


def means(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means of the numbers that all have."""
    names = [name for name in found[0] if all(name in numbers for numbers in found)]
    return {name: fmean(numbers[name] for numbers in found) for name in names}


def corpus_rows(arms: Sequence[str], roles: Roles, store: Store) -> Iterator[CorpusRow]:
    """Of every arm that has synthetic text."""
    for arm in arms:
        found = [numbers_of(one, store) for one in corpora_of(roles.get(arm, ()), store)]
        if found:
            yield CorpusRow(arm, len(found), means(found))


def corpora_table(roles: Roles, store: Store) -> list[dict[str, Any]]:
    """The rows as JSON-like objects.

    held_out_overlap: by split of the real corpus, the share of its 13-grams that the training text holds (law 7).
    """
    rows = []
    for row in corpus_rows(list(roles), roles, store):
        corpus = roles[row.arm][0]["corpus"]
        overlap = store.result(*corpus)["overlap"] if store.has(*corpus) else {}
        rows.append({"arm": row.arm, "corpora": row.corpora, **row.numbers, "held_out_overlap": overlap})
    return rows


def identical_corpora(roles: Roles, store: Store) -> list[frozenset[str]]:
    """Pairs of arms of which different generations of one replicate made the same: what sets them apart did nothing.

    Arms of one generation seed draw with the same random numbers, so distributions that are one in effect give the same
    words. The text counts too: keeping prompts and removing duplicates change it alone.
    """
    made: dict[tuple[int, str, str], dict[str, str]] = {}  # key by arm
    for arm, replicates in roles.items():
        for position, one in enumerate(replicates):
            if "generate" in one and store.has(*one["generate"]):
                files = store.manifest(*one["generate"])["files"]
                words, text = (files[name]["sha256"] for name in ("sequences.bin", "train.parquet"))
                made.setdefault((position, words, text), {})[arm] = one["generate"][1]
    pairs = (pair for keys in made.values() for pair in combinations(keys.items(), 2))
    return list(dict.fromkeys(frozenset({one, other}) for (one, key), (other, another) in pairs if key != another))


def shrunk_sources(roles: Roles, store: Store) -> list[str]:
    """Sources of which duplicates left fewer words than the recipe states, each in a sentence."""
    corpora = dict.fromkeys(one["corpus"] for of in roles.values() for one in of if "corpus" in one)
    found = [said for corpus in corpora if store.has(*corpus) for said in _shrunk(corpus, store)]
    return list(dict.fromkeys(found))


def _shrunk(corpus: Stage, store: Store) -> Iterator[str]:
    result = store.result(*corpus)
    again = result.get("duplicates_removed", 0)
    if not again:
        return
    for source in store.identity(*corpus)["params"]["sources"]:
        left = {split: of["words"] for split, of in result["sources"][source["name"]].items()}
        left["train"] += left.pop("seed")
        for split, words in left.items():
            stated = source.get("words" if split == "train" else f"{split}_words", source.get("evaluation_words"))
            if stated is not None and words < LEAST_LEFT * stated:
                yield (
                    f"corpus source {source['name']!r}: of the {stated:,} {split} words that it states, "
                    f"duplicates left {words:,} (the corpus held {again:,} documents again)"
                )
