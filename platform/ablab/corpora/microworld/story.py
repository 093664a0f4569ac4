"""Stories: scenes told one after the other, each true of the world and of what was told before."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence

from ablab.corpora.microworld import lexicon
from ablab.corpora.microworld.grammar import FORMS, Reading, write
from ablab.corpora.microworld.state import State
from ablab.corpora.microworld.world import World, build
from ablab.errors import InputError

SPLITS = ("train", "validation", "test")


def documents(seed: int, words: int, split: str) -> Iterator[str]:
    """Stories of the world of `seed` until at least `words` whitespace-separated words were given.

    Story i of a split depends on (seed, split, i) alone, so asking for more words extends the stream.
    Raises InputError for a split that is none of `SPLITS`.
    """
    if split not in SPLITS:
        raise InputError(f"split={split!r} is not a split of the microworld; use one of {', '.join(SPLITS)}")
    world = build(seed)
    return _until(words, world, split)


def _until(words: int, world: World, split: str) -> Iterator[str]:
    told, index = 0, 0
    while told < words:
        text = story(world, split, index)
        yield text
        told += len(text.split())
        index += 1


def story(world: World, split: str, index: int) -> str:
    """Story `index` of a split: 40 to 110 words."""
    teller = Teller(world, random.Random(f"microworld/{world.seed}/{split}/{index}"))
    length = teller.rng.randint(40, 70)
    while teller.words < length:
        teller.rng.choice(_SCENES)(teller)
    return " ".join(teller.told)


class Teller:
    """Tells one story: writes sentences and hears them itself, so that it knows what is true."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self.world = world
        self.rng = rng
        self.state = State(world)
        self.told: list[str] = []

    @property
    def words(self) -> int:
        return sum(len(sentence.split()) for sentence in self.told)

    def say(self, event: str, **roles: str) -> None:
        form = self.rng.choice(FORMS[event])
        self.told.append(write(form, roles))
        self.state.hear(Reading(event, roles))

    def maybe(self, chance: float) -> bool:
        return self.rng.random() < chance

    def free(self, words: Iterable[str], *given: str) -> str:
        """One of `words` that stories may join with the given ones."""
        return self.rng.choice(self.world.told(words, *given))

    def person(self) -> str:
        return self.rng.choice(self.world.people)

    def kind(self) -> str:
        return self.rng.choice(list(self.world.kinds))

    def place(self) -> str:
        return self.rng.choice(self.world.places)

    def new_objects(self) -> Sequence[str]:
        """The objects not spoken of yet, in a random order."""
        left = [thing for thing in self.world.objects if thing not in self.state.objects]
        return self.rng.sample(left, len(left))


def _meeting(t: Teller) -> None:
    who = t.person()
    kind = t.free(t.world.kinds, who)
    t.say("meets_kind", person=who, kind=kind)
    if t.maybe(0.35):
        t.say("glad", pronoun=t.world.pronoun(who))
    for event, roles in _facts(t, kind, t.rng.randint(2, 3)):
        t.say(f"it_{event}", **roles)


def _lesson(t: Teller) -> None:
    kind = t.kind()
    for event, roles in _facts(t, kind, t.rng.randint(1, 2)):
        t.say(event, kind=kind, **roles)


def _facts(t: Teller, kind: str, count: int) -> list[tuple[str, dict[str, str]]]:
    true = t.world.kinds[kind]
    facts = [
        ("eats", {"food": true.food}),
        ("can", {"ability": true.ability}),
        ("coloured", {"colour": true.colour}),
        ("lives", {"place": true.place}),
    ]
    return t.rng.sample(facts, count)


def _hunger(t: Teller) -> None:
    who = t.person()
    if t.maybe(0.5):
        t.say("likes", person=who, food=t.world.favourites[who])
    else:
        t.say("hungry", person=who)
        t.say("pronoun_likes", pronoun=t.world.pronoun(who), food=t.world.favourites[who])


def _home(t: Teller) -> None:
    who = t.person()
    if t.maybe(0.5):
        t.say("home", person=who, place=t.world.homes[who])
    else:
        t.say("tired", person=who)
        t.say("pronoun_home", pronoun=t.world.pronoun(who), place=t.world.homes[who])


def _trip(t: Teller) -> None:
    who, place = t.person(), t.place()
    t.say("goes", person=who, place=place)
    if t.maybe(0.5):
        t.say("pronoun_at_near", pronoun=t.world.pronoun(who), place=t.world.neighbours[place])
    else:
        t.say("near", place=place, place2=t.world.neighbours[place])


def _boxes(t: Teller) -> None:
    things = t.new_objects()[: t.rng.randint(2, 3)]
    for thing, container in zip(things, t.rng.sample(t.world.containers, len(things)), strict=True):
        t.say("inside", object=thing, container=container)
    if things and t.maybe(0.5):
        t.say("move", person=t.person(), object=t.rng.choice(things), container=t.rng.choice(t.world.containers))
    for thing in t.rng.sample(things, min(len(things), 2)):
        if t.maybe(0.5):
            t.say("ask_object", object=thing)
            t.say("it_inside", container=t.state.objects[thing])
        else:
            t.say("inside", object=thing, container=t.state.objects[thing])


def _handling(t: Teller) -> None:
    who, other = t.rng.sample(t.world.people, 2)
    for thing in t.new_objects()[:1]:
        container = t.rng.choice(t.world.containers)
        t.say("put", person=who, object=thing, container=container)
        t.say("take", person=other, object=thing, container=container)
        if t.maybe(0.5):
            t.say("give", person=other, object=thing, person2=who)
        holder = t.state.objects[thing]
        if t.maybe(0.25):
            t.say("has", person=holder, object=thing)
        else:
            t.say("ask_holder", object=thing)
            t.say("answer_person", person=holder)


def _sights(t: Teller) -> None:
    """One person sees a person and another sees a thing; then questions about either."""
    strangers = [person for person in t.world.people if person not in t.state.people]
    if len(strangers) < 3:
        return
    who, whom, other = t.rng.sample(strangers, 3)
    thing = t.rng.choice(t.world.objects)
    place, other_place = t.free(t.world.places, who, whom), t.free(t.world.places, other, thing)
    met = {"person": who, "person2": whom, "place": place}
    seen = {"person": other, "object": thing, "place": other_place}
    for event, roles in t.rng.sample((("meets_person", met), ("meets_object", seen)), 2):
        t.say(event, **roles)
    questions = (
        ("ask_whom", met, "answer_person", {"person": whom}),
        ("ask_where_person", met, "answer_place", {"place": place}),
        ("ask_who_sees_person", {"person": whom}, "answer_person", {"person": who}),
        ("ask_what", seen, "answer_object", {"object": thing}),
        ("ask_where_object", seen, "answer_place", {"place": other_place}),
        ("ask_who_sees_object", seen, "answer_person", {"person": other}),
    )
    for question, about, answer, answered in t.rng.sample(questions, 3):
        t.say(question, **about)
        t.say(answer, **answered)


def _food_question(t: Teller) -> None:
    kind = t.kind()
    t.say("ask_food", kind=kind)
    t.say("answer_food", food=t.world.kinds[kind].food)


def _acting(t: Teller) -> None:
    kind = t.kind()
    event = t.rng.choice(("act", "act_many"))
    t.say(event, kind=kind, verb=t.free(lexicon.VERBS, kind), place=t.place())


def _acting_near(t: Teller) -> None:
    kind, other = t.rng.sample(list(t.world.kinds), 2)
    event = t.rng.choice(("act_near", "act_near_many", "act_near", "act_near_many", "act_seeing", "act_seeing_many"))
    t.say(event, kind=kind, kind2=other, verb=t.free(lexicon.VERBS, kind))


def _hearing(t: Teller) -> None:
    who = t.person()
    event = t.rng.choice(("hear", "hear_many"))
    size = t.rng.choice(lexicon.SIZES)
    t.say(event, person=who, size=size, kind=t.free(t.world.kinds, who), place=t.place())


def _mirror(t: Teller) -> None:
    if t.maybe(0.7):
        who = t.person()
        place = t.place()
        thing, size = t.free(t.world.objects, place), t.rng.choice(lexicon.SIZES)
        reflexive = t.world.reflexive(who)
        t.say("mirror", person=who, reflexive=reflexive, place=place, size=size, object=thing)
    else:
        kind = t.kind()
        t.say("mirror_kind", kind=kind, reflexive="themselves", place=t.free(t.world.places, kind))


def _days(t: Teller) -> None:
    who = t.person()
    for event in t.rng.sample(("today", "yesterday"), t.rng.randint(1, 2)):
        t.say(event, person=who, verb=t.free(lexicon.VERBS, who), place=t.place())


def _nonce_noun(t: Teller) -> None:
    noun = t.rng.choice(t.world.nonce_nouns)
    many = lexicon.plural(noun)
    for count in t.rng.choice((("one", "now_many"), ("many", "now_one"))):
        event = f"nonce_{count}"
        nonce = many if count.endswith("many") else noun
        t.say(event, person=t.person(), nonce=nonce)


def _nonce_verb(t: Teller) -> None:
    verb, who = t.rng.choice(t.world.nonce_verbs), t.person()
    t.say("nonce_likes", person=who, nonce=verb)
    if t.maybe(0.5):
        inflected, event = lexicon.third_person(verb), "nonce_today"
    else:
        inflected, event = lexicon.past(verb), "nonce_yesterday"
    t.say(event, pronoun=t.world.pronoun(who), nonce=inflected, place=t.place())


def _nonce_adjective(t: Teller) -> None:
    adjective = t.rng.choice(t.world.nonce_adjectives)
    t.say("nonce_very", object=t.rng.choice(t.world.objects), nonce=adjective)
    t.say("nonce_quality", person=t.person(), nonce=lexicon.nominalised(adjective))


def _nonce(t: Teller) -> None:
    t.rng.choice((_nonce_noun, _nonce_verb, _nonce_adjective))(t)


_SCENES: tuple[Callable[[Teller], None], ...] = (
    *(_meeting, _meeting, _meeting, _meeting, _meeting, _lesson, _lesson, _lesson, _food_question),
    *(_hunger, _home, _trip, _boxes, _handling, _sights),
    *(_acting, _acting, _acting_near, _acting_near, _hearing, _mirror, _days),
    *(_nonce, _nonce),
)
