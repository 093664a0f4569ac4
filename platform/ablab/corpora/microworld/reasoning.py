"""Suites of a context and its continuations: entity tracking, world knowledge, made-up words."""

from __future__ import annotations

import random
from collections.abc import Mapping

from ablab.corpora.microworld.items import Maker, Question, sentence
from ablab.corpora.microworld.lexicon import nominalised, past, plural, third_person
from ablab.corpora.microworld.world import World


def _swapped(contexts: tuple[str, str], targets: tuple[str, str]) -> tuple[Question, ...]:
    """EWoK's two copies: each context with its own target against the other's."""
    return (contexts[0], targets), (contexts[1], (targets[1], targets[0]))


def entity_tracking(operations: int) -> Maker:
    """Where one of five objects is, `operations` moves of it after it was put somewhere."""

    def make(world: World, rng: random.Random) -> tuple[Question, ...]:
        things, containers = rng.sample(world.objects, 5), rng.sample(world.containers, 5)
        told = [sentence("inside", object=o, container=c) for o, c in zip(things, containers, strict=True)]
        asked = rng.randrange(5)
        place = containers[asked]
        for _ in range(operations):
            place = rng.choice([c for c in containers if c != place])
            mover = rng.choice(world.people)
            told.append(sentence("move", person=mover, object=things[asked], container=place))
        context = " ".join([*told, f"The {things[asked]} is in the"])
        options = [place, *(c for c in containers if c != place)]
        return ((context, tuple(f" {option}." for option in options)),)

    return make


def _kind_fact(attribute: str, target: str) -> Maker:
    """What is true of one kind against what is true of another."""

    def make(world: World, rng: random.Random) -> tuple[Question, ...]:
        first, second = _different(rng, {kind: getattr(p, attribute) for kind, p in world.kinds.items()})
        values = [getattr(world.kinds[kind], attribute) for kind in (first, second)]
        who = rng.choice(world.people)
        glad = sentence("glad", pronoun=world.pronoun(who))
        contexts = [sentence("meets_kind", person=who, kind=kind) + f" {glad}" for kind in (first, second)]
        return _swapped((contexts[0], contexts[1]), (target.format(values[0]), target.format(values[1])))

    return make


def _general_fact(attribute: str, target: str) -> Maker:
    """The same, said of every animal of the kind."""

    def make(world: World, rng: random.Random) -> tuple[Question, ...]:
        first, second = _different(rng, {kind: getattr(p, attribute) for kind, p in world.kinds.items()})
        walk = sentence("goes", person=rng.choice(world.people), place=rng.choice(world.places))
        values = [getattr(world.kinds[kind], attribute) for kind in (first, second)]
        contexts = f"{walk} Every {first}", f"{walk} Every {second}"
        return _swapped(contexts, (target.format(values[0]), target.format(values[1])))

    return make


def _personal_fact(table: str, event: str, target: str) -> Maker:
    """What is true of one person against what is true of another whom the same pronoun fits."""

    def make(world: World, rng: random.Random) -> tuple[Question, ...]:
        facts: Mapping[str, str] = getattr(world, table)
        people = rng.choice((world.girls, world.boys))
        first, second = _different(rng, {person: facts[person] for person in people})
        walk = sentence("goes", person=rng.choice(world.people), place=rng.choice(world.places))
        contexts = [f"{walk} {sentence(event, person=who)}" for who in (first, second)]
        pronoun = world.pronoun(first).capitalize()
        targets = [target.format(pronoun, facts[who]) for who in (first, second)]
        return _swapped((contexts[0], contexts[1]), (targets[0], targets[1]))

    return make


def _different(rng: random.Random, facts: Mapping[str, str]) -> tuple[str, str]:
    """Two keys of which different things are true."""
    while True:
        first, second = rng.sample(list(facts), 2)
        if facts[first] != facts[second]:
            return first, second


def _neighbourhood(world: World, rng: random.Random) -> tuple[Question, ...]:
    """What is near the place where somebody goes."""
    first, second = rng.sample(world.places, 2)
    who = rng.choice(world.people)
    contexts = [sentence("goes", person=who, place=place) for place in (first, second)]
    pronoun = world.pronoun(who).capitalize()
    targets = [f" {pronoun} is near the {world.neighbours[place]}." for place in (first, second)]
    return _swapped((contexts[0], contexts[1]), (targets[0], targets[1]))


WORLD_KNOWLEDGE: dict[str, Maker] = {
    "kind_food": _kind_fact("food", " It eats {}."),
    "kind_ability": _kind_fact("ability", " It can {}."),
    "kind_colour": _kind_fact("colour", " It is {}."),
    "kind_place": _kind_fact("place", " It lives in the {}."),
    "general_food": _general_fact("food", " eats {}."),
    "person_food": _personal_fact("favourites", "hungry", " {} wants {}."),
    "person_home": _personal_fact("homes", "tired", " {} lives in the {}."),
    "neighbourhood": _neighbourhood,
}


def noun_number(world: World, rng: random.Random) -> tuple[Question, ...]:
    noun = rng.choice(world.nonce_unseen)
    one, many = f" {noun}.", f" {plural(noun)}."
    return _swapped(
        (f"These are {plural(noun)}. Now there is one", f"This is a {noun}. Now there are two"), (one, many)
    )


def verb_tense(world: World, rng: random.Random) -> tuple[Question, ...]:
    verb, who, place = rng.choice(world.nonce_unseen), rng.choice(world.people), rng.choice(world.places)
    likes = sentence("nonce_likes", person=who, nonce=verb)
    contexts = (f"{likes} Every day {world.pronoun(who)}", f"{likes} Yesterday {world.pronoun(who)}")
    return _swapped(contexts, (f" {third_person(verb)} in the {place}.", f" {past(verb)} in the {place}."))


def nominalisation(world: World, rng: random.Random) -> tuple[Question, ...]:
    """-able goes with -ability and -ish with -ishness."""
    stem, thing, who = rng.choice(world.nonce_unseen), rng.choice(world.objects), rng.choice(world.people)
    adjectives = f"{stem}able", f"{stem}ish"
    contexts = [sentence("nonce_very", object=thing, nonce=a) + f" {who} likes its" for a in adjectives]
    targets = [f" {nominalised(adjective)}." for adjective in adjectives]
    return _swapped((contexts[0], contexts[1]), (targets[0], targets[1]))


def same_stem(world: World, rng: random.Random) -> tuple[Question, ...]:
    """An inflected word keeps its stem: the wrong option inflects another word."""
    first, second = rng.sample(world.nonce_unseen, 2)
    contexts = f"This is a {first}. Now there are two", f"This is a {second}. Now there are two"
    return _swapped(contexts, (f" {plural(first)}.", f" {plural(second)}."))


NONCE_MORPHOLOGY: dict[str, Maker] = {
    "noun_number": noun_number,
    "verb_tense": verb_tense,
    "nominalisation": nominalisation,
    "stem": same_stem,
}
