"""Suites of whole sentences: minimal pairs, and answers that fit their question or do not.

Every sentence joins words that stories never join in that construction (`World.reserved`).
"""

from __future__ import annotations

import random

from ablab.corpora.microworld.items import Question, pair, sentence
from ablab.corpora.microworld.lexicon import SIZES, VERBS, past, plural, third_person
from ablab.corpora.microworld.world import World


def _mirrored(frame: str, subjects: tuple[str, str], verbs: tuple[str, str]) -> tuple[Question, ...]:
    """Each subject with its own verb against the other's verb."""
    first, second = (frame.format(s, v) for s, v in zip(subjects, verbs, strict=True))
    first_bad, second_bad = (frame.format(s, v) for s, v in zip(subjects, reversed(verbs), strict=True))
    return pair(first, first_bad), pair(second, second_bad)


def _acting(world: World, rng: random.Random) -> tuple[str, str, tuple[str, str], tuple[str, str]]:
    """A kind, another kind, the kind in both numbers, and a verb in the forms that go with them."""
    kind, other = rng.sample(list(world.kinds), 2)
    verb = rng.choice(world.kept_back(VERBS, kind))
    return kind, other, (f"The {kind}", f"The {plural(kind)}"), (third_person(verb), verb)


def agreement_simple(world: World, rng: random.Random) -> tuple[Question, ...]:
    _, _, subjects, verbs = _acting(world, rng)
    return _mirrored(f"{{}} {{}} in the {rng.choice(world.places)}.", subjects, verbs)


def agreement_attractor(world: World, rng: random.Random) -> tuple[Question, ...]:
    """The noun next to the verb has the other number than the subject."""
    _, other, (one, many), verbs = _acting(world, rng)
    subjects = f"{one} near the {plural(other)}", f"{many} near the {other}"
    return _mirrored("{} {}.", subjects, verbs)


def agreement_relative(world: World, rng: random.Random) -> tuple[Question, ...]:
    """As with the attractor, which now stands in a relative clause."""
    _, other, (one, many), verbs = _acting(world, rng)
    subjects = f"{one} that sees the {plural(other)}", f"{many} that see the {other}"
    return _mirrored("{} {}.", subjects, verbs)


def determiner_noun(world: World, rng: random.Random) -> tuple[Question, ...]:
    who = rng.choice(world.people)
    kind = rng.choice(world.kept_back(world.kinds, who))
    frame = f"{who} hears {{}} {rng.choice(SIZES)} {{}} in the {rng.choice(world.places)}."
    return _mirrored(frame, ("this", "these"), (kind, plural(kind)))


def anaphor_gender(world: World, rng: random.Random) -> tuple[Question, ...]:
    people = rng.choice(world.girls), rng.choice(world.boys)
    place = rng.choice(world.places)
    thing = rng.choice(world.kept_back(world.objects, place))
    frame = f"{{}} sees {{}} in the {place} with the {rng.choice(SIZES)} {thing}."
    return _mirrored(frame, people, ("herself", "himself"))


def tense(world: World, rng: random.Random) -> tuple[Question, ...]:
    who = rng.choice(world.people)
    verb = rng.choice(world.kept_back(VERBS, who))
    frame = f"{{}} {who} {{}} in the {rng.choice(world.places)}."
    return _mirrored(frame, ("Every day", "Yesterday"), (third_person(verb), past(verb)))


def tense_far(world: World, rng: random.Random) -> tuple[Question, ...]:
    """The time and the verb on both sides of a shape that stories tell without a time."""
    kind, other, _, (today, verb) = _acting(world, rng)
    frame = f"{{}} the {kind} near the {other} {{}}."
    return _mirrored(frame, ("Every day", "Yesterday"), (today, past(verb)))


MINIMAL_PAIRS = {
    "agreement_simple": agreement_simple,
    "agreement_attractor": agreement_attractor,
    "agreement_relative": agreement_relative,
    "determiner_noun": determiner_noun,
    "anaphor_gender": anaphor_gender,
    "tense": tense,
    "tense_far": tense_far,
}


Sight = dict[str, str]
"""Who (`person`) sees whom (`person2`) or what (`object`), and where (`place`)."""


def _sight(world: World, rng: random.Random, role: str) -> Sight:
    """A sight that no story tells; `role` says whether it is of a person or of an object."""
    who, seen = rng.choice(world.people), rng.choice(world.people if role == "person2" else world.objects)
    return {"person": who, role: seen, "place": rng.choice(world.kept_back(world.places, who, seen))}


def _two_sights(world: World, rng: random.Random, *roles: str) -> tuple[Sight, Sight]:
    """Two sights in which no word comes twice."""
    while True:
        first, second = (_sight(world, rng, role) for role in roles)
        if len({*first.values(), *second.values()}) == len(first) + len(second):
            return first, second


def who_or_what(world: World, rng: random.Random) -> tuple[Question, ...]:
    """Whom the one sees or what the other sees: a person or a thing."""
    first, second = _two_sights(world, rng, "person2", "object")
    told = sentence("meets_object", **second) + " " + sentence("meets_person", **first)
    questions = sentence("ask_whom", **first), sentence("ask_what", **second)
    answers = f"{first['person2']}.", sentence("answer_object", **second)
    return _mirrored(f"{told} {{}} {{}}", questions, answers)


def what_or_where(world: World, rng: random.Random) -> tuple[Question, ...]:
    """What somebody sees or where: a thing or a place."""
    first, second = _two_sights(world, rng, "object", "object")
    told = sentence("goes", **second) + " " + sentence("meets_object", **first)
    questions = sentence("ask_what", **first), sentence("ask_where_object", **first)
    answers = sentence("answer_object", **first), sentence("answer_place", **first)
    return _mirrored(f"{told} {{}} {{}}", questions, answers)


def which_person(world: World, rng: random.Random) -> tuple[Question, ...]:
    """Whom the one sees against whom the other sees."""
    return _told_apart(_two_sights(world, rng, "person2", "person2"), "person", "ask_whom")


def which_place(world: World, rng: random.Random) -> tuple[Question, ...]:
    """Where the one sees something against where the other does."""
    return _told_apart(_two_sights(world, rng, "object", "object"), "place", "ask_where_object")


def _told_apart(sights: tuple[Sight, Sight], answer: str, question: str) -> tuple[Question, ...]:
    """Both sights are told; the answer that is right about the one is wrong about the other."""
    event = "meets_person" if answer == "person" else "meets_object"
    told = " ".join(sentence(event, **sight) for sight in sights)
    first, second = (sentence(question, **sight) for sight in sights)
    answers = [f"{sight['person2']}." if answer == "person" else sentence("answer_place", **sight) for sight in sights]
    return _mirrored(f"{told} {{}} {{}}", (first, second), (answers[0], answers[1]))


QA_CONGRUENCE = {
    "who_or_what": who_or_what,
    "what_or_where": what_or_where,
    "which_person": which_person,
    "which_place": which_place,
}
