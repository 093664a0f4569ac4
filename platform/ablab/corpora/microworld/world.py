"""A world: who and what there is, and what is always true of it. A function of the seed alone."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ablab.corpora.microworld import lexicon

NONCE_STEMS_TAUGHT = 40
"""Made-up stems that stories may use, per part of speech; suites use the others only."""


@dataclass(frozen=True)
class Properties:
    """What is true of every animal of a kind."""

    food: str
    ability: str
    colour: str
    place: str


@dataclass(frozen=True, eq=False)
class World:
    """Everything that does not change. Mappings are never written to after construction."""

    seed: int
    girls: tuple[str, ...]
    boys: tuple[str, ...]
    places: tuple[str, ...]
    containers: tuple[str, ...]
    objects: tuple[str, ...]
    foods: tuple[str, ...]
    kinds: Mapping[str, Properties]
    homes: Mapping[str, str]
    """Person → the place where they live."""
    favourites: Mapping[str, str]
    """Person → the food they like."""
    neighbours: Mapping[str, str]
    """Place → the one place it is near to; symmetric."""
    nonce_nouns: tuple[str, ...]
    nonce_verbs: tuple[str, ...]
    nonce_adjectives: tuple[str, ...]
    nonce_unseen: tuple[str, ...]
    """Stems that no story uses."""
    ranks: Mapping[str, int]
    """Word → its position among the words of its class."""

    @property
    def people(self) -> tuple[str, ...]:
        return self.girls + self.boys

    def pronoun(self, person: str) -> str:
        return "she" if person in self.girls else "he"

    def reserved(self, *words: str) -> bool:
        """Whether stories leave these words together to the suites: a quarter of all combinations."""
        return sum(self.ranks[word] for word in words) % 4 == 0

    def told(self, words: Iterable[str], *given: str) -> list[str]:
        """Those of `words` that stories may join with the given ones."""
        return [word for word in words if not self.reserved(word, *given)]

    def kept_back(self, words: Iterable[str], *given: str) -> list[str]:
        """Those of `words` that only suites join with the given ones: at least one, of 4 or more."""
        return [word for word in words if self.reserved(word, *given)]

    def reflexive(self, person: str) -> str:
        return "herself" if person in self.girls else "himself"


@lru_cache(maxsize=8)
def build(seed: int) -> World:
    """The world of `seed`: the same on every machine and Python version."""
    rng = random.Random(f"microworld/{seed}/world")
    girls, boys = pick(rng, lexicon.GIRLS, 4), pick(rng, lexicon.BOYS, 4)
    people = girls + boys
    places = pick(rng, lexicon.PLACES, 6)
    foods = pick(rng, lexicon.FOODS, 5)
    abilities, colours = pick(rng, lexicon.ABILITIES, 5), pick(rng, lexicon.COLOURS, 5)
    kinds = pick(rng, lexicon.KINDS, 8)
    columns = (spread(rng, values, len(kinds)) for values in (foods, abilities, colours, places))
    properties = [Properties(*row) for row in zip(*columns, strict=True)]
    halves = list(zip(places[::2], places[1::2], strict=True))
    objects = pick(rng, lexicon.OBJECTS, 8)
    stems = list(lexicon.nonce_stems())
    rng.shuffle(stems)
    n = NONCE_STEMS_TAUGHT
    return World(
        seed=seed,
        girls=girls,
        boys=boys,
        places=places,
        containers=lexicon.CONTAINERS,
        objects=objects,
        foods=foods,
        kinds=dict(zip(kinds, properties, strict=True)),
        homes=dict(zip(people, spread(rng, places, len(people)), strict=True)),
        favourites=dict(zip(people, spread(rng, foods, len(people)), strict=True)),
        neighbours=dict(halves) | {b: a for a, b in halves},
        nonce_nouns=tuple(stems[:n]),
        nonce_verbs=tuple(stems[n : 2 * n]),
        nonce_adjectives=tuple(
            stem + suffix for stem, suffix in zip(stems[2 * n : 3 * n], ("able", "ish") * n, strict=False)
        ),
        nonce_unseen=tuple(stems[3 * n :]),
        ranks={
            word: rank for words in (people, places, kinds, objects, lexicon.VERBS) for rank, word in enumerate(words)
        },
    )


def pick(rng: random.Random, pool: Sequence[str], count: int) -> tuple[str, ...]:
    """`count` different words of the pool, in a random order."""
    return tuple(rng.sample(pool, count))


def spread(rng: random.Random, values: Iterable[str], count: int) -> list[str]:
    """`count` values, each used as equally often as possible, in a random order."""
    values = list(values)
    repeated = (values * (count // len(values) + 1))[:count]
    rng.shuffle(repeated)
    return repeated
