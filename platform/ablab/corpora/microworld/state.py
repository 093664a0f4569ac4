"""What a story has said so far, and whether its next sentence agrees with that and with the world."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ablab.corpora.microworld.grammar import Reading
from ablab.corpora.microworld.world import World


@dataclass
class State:
    """The state of one story. What it has not said is unknown, and a claim about it is no claim."""

    world: World
    objects: dict[str, str] = field(default_factory=dict)
    """Object → the container it is in or the person who has it."""
    people: dict[str, str] = field(default_factory=dict)
    """Person → the place they are in."""
    sights: list[tuple[str, str, str]] = field(default_factory=list)
    """(who, whom or what, where), the latest last."""
    kind: str | None = None
    """The kind that "it" means."""
    person: str | None = None
    """The person that "she" or "he" means."""
    asked_object: str | None = None
    """The object that "it" means after a question where it is."""
    expected: frozenset[str] = frozenset()
    """The right short answers to the question asked last; empty when they are unknown."""

    def hear(self, reading: Reading) -> bool | None:
        """Take in one sentence. True or False when it claims something decidable, else None."""
        roles = reading.roles
        verdict = _HANDLERS[reading.event](self, roles) if reading.event in _HANDLERS else None
        self.kind = roles.get("kind", self.kind)
        if "person" in roles and not reading.event.startswith(("ask", "answer")):
            self.person = roles["person"]
        if not reading.event.startswith("ask"):
            self.expected, self.asked_object = frozenset(), None
        return verdict

    def agrees_object(self, thing: str, holder: str) -> bool | None:
        return self.objects[thing] == holder if thing in self.objects else None

    def saw(self, who: str, what: str, where: str) -> bool | None:
        """Records a sight; contradicted when the story has put either person elsewhere."""
        known = [self.people[person] == where for person in (who, what) if person in self.people]
        self.sights.append((who, what, where))
        self.people[who] = where
        if what in self.world.people:
            self.people[what] = where
        return all(known) if known else None

    def seen(self, who: str | None = None, what: str | None = None, wheres: bool = False) -> list[str]:
        """The unknown part of the sights that match: places, else whom or what, else who."""
        found = [s for s in self.sights if who in (None, s[0]) and what in (None, s[1])]
        return [s[2] if wheres else s[1] if what is None else s[0] for s in found]


Roles = dict[str, str]
Handler = Callable[[State, Roles], bool | None]


def _fact(attribute: str, role: str) -> Handler:
    """A claim on a property of a kind; the kind may be left to "it"."""

    def check(state: State, roles: Roles) -> bool | None:
        kind = roles.get("kind", state.kind)
        return None if kind is None else getattr(state.world.kinds[kind], attribute) == roles[role]

    return check


def _personal(table: str, role: str) -> Handler:
    """A claim on a person's home or favourite food; the person may be left to "she" or "he"."""

    def check(state: State, roles: Roles) -> bool | None:
        person = _referent(state, roles)
        return None if person is None else getattr(state.world, table)[person] == roles[role]

    return check


def _referent(state: State, roles: Roles) -> str | None:
    """The person meant; None when the pronoun has nobody to mean."""
    if "person" in roles:
        return roles["person"]
    fits = state.person is not None and state.world.pronoun(state.person) == roles["pronoun"]
    return state.person if fits else None


def _near(state: State, roles: Roles) -> bool | None:
    return state.world.neighbours[roles["place"]] == roles["place2"]


def _pronoun_near(state: State, roles: Roles) -> bool | None:
    person = _referent(state, roles)
    if person is None or person not in state.people:
        return None
    return state.world.neighbours[state.people[person]] == roles["place"]


def _inside(state: State, roles: Roles) -> bool | None:
    thing = roles.get("object", state.asked_object)
    if thing is None:
        return None
    verdict = state.agrees_object(thing, roles["container"])
    state.objects.setdefault(thing, roles["container"])
    return verdict


def _put(state: State, roles: Roles) -> bool | None:
    """Putting or moving makes a place true; it can only contradict that somebody else has the object."""
    holder = state.objects.get(roles["object"])
    state.objects[roles["object"]] = roles["container"]
    return holder == roles["person"] if holder in state.world.people else None


def _take(state: State, roles: Roles) -> bool | None:
    verdict = state.agrees_object(roles["object"], roles["container"])
    state.objects[roles["object"]] = roles["person"]
    return verdict


def _give(state: State, roles: Roles) -> bool | None:
    verdict = state.agrees_object(roles["object"], roles["person"])
    state.objects[roles["object"]] = roles["person2"]
    return verdict


def _has(state: State, roles: Roles) -> bool | None:
    verdict = state.agrees_object(roles["object"], roles["person"])
    state.objects.setdefault(roles["object"], roles["person"])
    return verdict


def _goes(state: State, roles: Roles) -> None:
    state.people[roles["person"]] = roles["place"]


def _sees(role: str) -> Handler:
    return lambda state, roles: state.saw(roles["person"], roles[role], roles["place"])


def _ask(answers: Callable[[State, Roles], list[str]]) -> Handler:
    def ask(state: State, roles: Roles) -> None:
        state.expected = frozenset(answers(state, roles))
        state.asked_object = roles.get("object")

    return ask


def _answer(role: str) -> Handler:
    def check(state: State, roles: Roles) -> bool | None:
        return roles[role] in state.expected if state.expected else None

    return check


def _among(values: list[str], allowed: tuple[str, ...]) -> list[str]:
    return [value for value in values if value in allowed]


def _whereabouts(state: State, roles: Roles) -> list[str]:
    return [state.objects[roles["object"]]] if roles["object"] in state.objects else []


_HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(("eats", "it_eats"), _fact("food", "food")),
    **dict.fromkeys(("can", "it_can"), _fact("ability", "ability")),
    **dict.fromkeys(("coloured", "it_coloured"), _fact("colour", "colour")),
    **dict.fromkeys(("lives", "it_lives"), _fact("place", "place")),
    **dict.fromkeys(("home", "pronoun_home"), _personal("homes", "place")),
    **dict.fromkeys(("likes", "pronoun_likes"), _personal("favourites", "food")),
    "near": _near,
    "pronoun_at_near": _pronoun_near,
    **dict.fromkeys(("inside", "it_inside"), _inside),
    **dict.fromkeys(("put", "move"), _put),
    "take": _take,
    "give": _give,
    "has": _has,
    "goes": _goes,
    "meets_person": _sees("person2"),
    "meets_object": _sees("object"),
    "ask_whom": _ask(lambda s, r: _among(s.seen(who=r["person"]), s.world.people)),
    "ask_what": _ask(lambda s, r: _among(s.seen(who=r["person"]), s.world.objects)),
    "ask_where_person": _ask(lambda s, r: s.seen(r["person"], r["person2"], wheres=True)),
    "ask_where_object": _ask(lambda s, r: s.seen(r["person"], r["object"], wheres=True)),
    "ask_who_sees_person": _ask(lambda s, r: s.seen(what=r["person"])),
    "ask_who_sees_object": _ask(lambda s, r: s.seen(what=r["object"])),
    "ask_object": _ask(_whereabouts),
    "ask_holder": _ask(_whereabouts),
    "ask_food": _ask(lambda s, r: [s.world.kinds[r["kind"]].food]),
    "answer_person": _answer("person"),
    "answer_object": _answer("object"),
    "answer_place": _answer("place"),
    "answer_food": _answer("food"),
}
