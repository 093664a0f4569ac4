"""The sentences of a microworld: one table that both writes and reads them.

A form is a sentence with slots. A slot `{person2}` takes any surface of the word class `person` and
binds the role `person2`. Reading replaces every word by its class and looks the result up, so every
sentence that can be written can be read, and nothing else can.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from ablab.corpora.microworld import lexicon
from ablab.corpora.microworld.world import World

FORMS: dict[str, tuple[str, ...]] = {
    # Timeless facts; "it" and "they" are the kind spoken of last.
    "eats": ("every {kind} eats {food}.", "the {kind} eats {food}."),
    "can": ("every {kind} can {ability}.", "the {kind} can {ability}."),
    "coloured": ("every {kind} is {colour}.", "the {kind} is {colour}."),
    "lives": ("every {kind} lives in the {place}.", "the {kind} lives in the {place}."),
    "it_eats": ("it eats {food}.",),
    "it_can": ("it can {ability}.",),
    "it_coloured": ("it is {colour}.",),
    "it_lives": ("it lives in the {place}.",),
    "home": ("{person} lives in the {place}.",),
    "pronoun_home": ("{pronoun} lives in the {place}.",),
    "likes": ("{person} likes {food}.",),
    "pronoun_likes": ("{pronoun} wants {food}.",),
    "near": ("the {place} is near the {place2}.",),
    # Where things are and who has them.
    "inside": ("the {object} is in the {container}.",),
    "it_inside": ("it is in the {container}.",),
    "put": ("{person} puts the {object} in the {container}.",),
    "move": ("{person} moves the {object} to the {container}.",),
    "take": ("{person} takes the {object} from the {container}.",),
    "give": ("{person} gives the {object} to {person2}.",),
    "has": ("{person} has the {object}.",),
    # Where people are and whom they meet.
    "goes": ("{person} goes to the {place}.", "{person} comes to the {place}."),
    "pronoun_at_near": ("{pronoun} is near the {place}.",),
    "meets_person": ("{person} sees {person2} in the {place}.",),
    "meets_object": ("{person} sees the {object} in the {place}.",),
    "meets_kind": ("{person} sees a {kind}.", "{person} has a {kind}."),
    # Questions, and their short answers.
    "ask_whom": ("who does {person} see?",),
    "ask_what": ("what does {person} see?",),
    "ask_where_person": ("where does {person} see {person2}?",),
    "ask_where_object": ("where does {person} see the {object}?",),
    "ask_who_sees_person": ("who sees {person}?",),
    "ask_who_sees_object": ("who sees the {object}?",),
    "ask_object": ("where is the {object}?",),
    "ask_holder": ("who has the {object}?",),
    "ask_food": ("what do {kinds} eat?",),
    "answer_person": ("{person}.",),
    "answer_object": ("the {object}.",),
    "answer_place": ("in the {place}.",),
    "answer_food": ("{food}.",),
    # Scenery: no claim about the world.
    "hungry": ("{person} is hungry.",),
    "tired": ("{person} goes home.",),
    "glad": ("{pronoun} is glad.", "{pronoun} is happy."),
    "act": ("the {kind} {verb_s} in the {place}.", "this {kind} {verb_s} in the {place}."),
    "act_many": ("the {kinds} {verb} in the {place}.", "these {kinds} {verb} in the {place}."),
    "act_near": ("the {kind} near the {kind2} {verb_s}.", "the {kind} near the {kinds2} {verb_s}."),
    "act_near_many": ("the {kinds} near the {kind2} {verb}.", "the {kinds} near the {kinds2} {verb}."),
    "act_seeing": (
        "the {kind} that sees the {kind2} {verb_s}.",
        "the {kind} that sees the {kinds2} {verb_s}.",
    ),
    "act_seeing_many": (
        "the {kinds} that see the {kind2} {verb}.",
        "the {kinds} that see the {kinds2} {verb}.",
    ),
    "hear": ("{person} hears this {size} {kind} in the {place}.",),
    "hear_many": ("{person} hears these {size} {kinds} in the {place}.",),
    "mirror": ("{person} sees {reflexive} in the {place} with the {size} {object}.",),
    "mirror_kind": ("the {kinds} see {reflexive} in the {place}.",),
    "today": ("every day {person} {verb_s} in the {place}.",),
    "yesterday": ("yesterday {person} {verb_ed} in the {place}.",),
    # Made-up words.
    "nonce_one": ("this is a {nonce}.",),
    "nonce_many": ("these are {nonce}.",),
    "nonce_now_one": ("now there is one {nonce}.", "{person} wants one {nonce}."),
    "nonce_now_many": ("now there are two {nonce}.", "{person} wants two {nonce}."),
    "nonce_likes": ("{person} likes to {nonce}.",),
    "nonce_today": ("every day {pronoun} {nonce} in the {place}.",),
    "nonce_yesterday": ("yesterday {pronoun} {nonce} in the {place}.",),
    "nonce_very": ("the {object} is very {nonce}.",),
    "nonce_quality": ("{person} likes its {nonce}.",),
}

_SLOT = re.compile(r"\{([a-z_]+?)(2?)\}")
_ROLES = {"kinds": "kind", "verb_s": "verb", "verb_ed": "verb"}
_INFLECTIONS = {"kinds": lexicon.plural, "verb_s": lexicon.third_person, "verb_ed": lexicon.past}
_TOKEN = re.compile(r"[A-Za-z]+|[.?!]")
_SENTENCE = re.compile(r"[^.?!]*[.?!]|[^.?!]+$")


@dataclass(frozen=True)
class Reading:
    """What a sentence says: the event and the value of every role, e.g. `eats`, kind=cat, food=nuts."""

    event: str
    roles: dict[str, str]


@dataclass(frozen=True)
class Grammar:
    """The forms with the words of one world.

    `classes`: lower-case surface → (word class, value); a plural kind has the value of its singular.
    """

    classes: dict[str, tuple[str, str]]
    words: frozenset[str]
    patterns: dict[tuple[str, ...], tuple[str, tuple[str, ...]]]

    def read(self, sentence: str) -> Reading | None:
        """The reading of one sentence with its final mark; None when no form matches."""
        surfaces = _TOKEN.findall(sentence)
        key: list[str] = []
        values: list[str] = []
        for surface in surfaces:
            slot, value = self._classify(surface.lower())
            key.append(slot)
            if slot.startswith("{"):
                values.append(value)
        found = self.patterns.get(tuple(key))
        if found is None or " ".join(sentence.split()) != join(surfaces):
            return None
        event, roles = found
        return Reading(event, dict(zip(roles, values, strict=True)))

    def _classify(self, word: str) -> tuple[str, str]:
        if word in self.classes:
            slot, value = self.classes[word]
            return "{" + slot + "}", value
        return (word, word) if word in self.words else ("{nonce}", word)


@lru_cache(maxsize=8)
def grammar(world: World) -> Grammar:
    """The grammar over the words of `world`."""
    classes: dict[str, tuple[str, str]] = {}
    for slot, values in (
        ("person", world.people),
        ("place", world.places),
        ("container", world.containers),
        ("object", world.objects),
        ("food", world.foods),
        ("kind", tuple(world.kinds)),
    ):
        classes |= {value.lower(): (slot, value) for value in values}
    classes |= {lexicon.plural(kind): ("kinds", kind) for kind in world.kinds}
    for kind in world.kinds.values():
        classes[kind.ability] = ("ability", kind.ability)
        classes[kind.colour] = ("colour", kind.colour)
    for verb in lexicon.VERBS:
        classes[verb] = ("verb", verb)
        classes[lexicon.third_person(verb)] = ("verb_s", verb)
        classes[lexicon.past(verb)] = ("verb_ed", verb)
    classes |= {word: ("size", word) for word in lexicon.SIZES}
    classes |= {word: ("pronoun", word) for word in lexicon.PRONOUNS}
    classes |= {word: ("reflexive", word) for word in lexicon.REFLEXIVES}
    patterns: dict[tuple[str, ...], tuple[str, tuple[str, ...]]] = {}
    words: set[str] = set()
    for event, forms in FORMS.items():
        for form in forms:
            key, roles = _compile(form)
            patterns[key] = event, roles
            words |= {token for token in key if not token.startswith("{")}
    return Grammar(classes, frozenset(words), patterns)


def _compile(form: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The key under which a form is looked up, and the roles of its slots in order."""
    slots = _SLOT.findall(form)
    classes = iter("{" + name + "}" for name, _ in slots)
    tokens = _TOKEN.findall(_SLOT.sub(" SLOT ", form))
    key = tuple(next(classes) if token == "SLOT" else token for token in tokens)
    return key, tuple(_ROLES.get(name, name) + number for name, number in slots)


def write(form: str, roles: Mapping[str, str]) -> str:
    """The sentence of a form; every slot shows its role's value in the slot's inflection."""

    def surface(slot: re.Match[str]) -> str:
        name, number = slot.groups()
        value = roles[_ROLES.get(name, name) + number]
        return _INFLECTIONS[name](value) if name in _INFLECTIONS else value

    sentence = _SLOT.sub(surface, form)
    return sentence[0].upper() + sentence[1:]


def join(tokens: list[str]) -> str:
    """Words with single spaces between them and none before a mark."""
    return " ".join(tokens).replace(" .", ".").replace(" ?", "?").replace(" !", "!")


def sentences(text: str) -> Iterator[str]:
    """The sentences of a text, each with its final mark where it has one."""
    for match in _SENTENCE.finditer(text):
        sentence = match.group().strip()
        if sentence:
            yield sentence
