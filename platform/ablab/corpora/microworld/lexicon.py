"""The words a microworld is made of, and the regular morphology of its made-up words.

A world uses a seeded choice from each pool (`ablab.corpora.microworld.world`). No word stands in two
pools, so that a sentence is parsed word by word.
"""

from __future__ import annotations

GIRLS = ("Lily", "Mia", "Anna", "Rose", "Sue", "Jane")
BOYS = ("Tom", "Ben", "Sam", "Max", "Jack", "Leo")
PLACES = ("garden", "park", "barn", "forest", "market", "school", "yard", "cave", "field", "hall")
CONTAINERS = ("box", "bag", "basket", "pot", "drawer", "chest")
OBJECTS = ("ball", "cup", "key", "book", "hat", "doll", "coin", "shell", "spoon", "ring", "lamp", "kite")
KINDS = (
    *("cat", "dog", "hen", "frog", "duck", "bear", "goat", "pig"),
    *("cow", "bird", "fox", "bee", "rabbit", "horse", "lion", "crab"),
)
FOODS = ("nuts", "corn", "grass", "bread", "milk", "soup", "rice", "cake")
ABILITIES = ("swim", "fly", "climb", "dig", "sing", "dive", "hide", "run")
COLOURS = ("white", "black", "brown", "grey", "green", "red", "blue", "yellow")
SIZES = ("big", "little", "old", "young")
VERBS = ("rest", "wait", "play", "jump", "walk", "dance", "smile", "laugh")
"""Intransitive regular verbs; with objects, kinds and places they carry the agreement tasks."""

PRONOUNS = {"she": "girl", "he": "boy"}
REFLEXIVES = ("herself", "himself", "themselves")

_ONSETS = ("dw", "gl", "gw", "kl", "pl", "sn", "sm", "v", "vl", "vr", "z", "zl", "zw")
_VOWELS = ("a", "e", "i", "o", "u")
_CODAS = ("ck", "lf", "mp", "nk", "rb", "rm", "rt")
_REAL_STEMS = frozenset(
    {
        "gulf",
        "pluck",
        "plank",
        "plink",
        "plonk",
        "plunk",
        "plump",
        "smack",
        "smart",
        "smirk",
        "smock",
        "smurf",
    }
    | {"snack", "snick", "snort", "snuck", "vamp", "zonk", "klick", "gluck", "verb", "glock", "zuck", "snark"}
)


def nonce_stems() -> tuple[str, ...]:
    """Every made-up stem, in a fixed order; their inflections never double or drop a letter."""
    stems = (onset + vowel + coda for onset in _ONSETS for vowel in _VOWELS for coda in _CODAS)
    return tuple(stem for stem in stems if stem not in _REAL_STEMS)


def plural(noun: str) -> str:
    """Regular plural: box → boxes, fox → foxes, cat → cats."""
    return noun + ("es" if noun.endswith(("x", "ch", "s")) else "s")


def third_person(verb: str) -> str:
    """Regular third person singular of the verbs used here: jump → jumps, dance → dances."""
    return verb + "s"


def past(verb: str) -> str:
    """Regular past: jump → jumped, dance → danced."""
    return verb + ("d" if verb.endswith("e") else "ed")


def nominalised(adjective: str) -> str:
    """The noun of a made-up adjective: blickable → blickability, blickish → blickishness."""
    if adjective.endswith("able"):
        return adjective.removesuffix("able") + "ability"
    return adjective + "ness"
