"""Stories: streams that only their seed, split and index decide, in plain text that is always true."""

from __future__ import annotations

import hashlib
import itertools
import random

import pytest

from ablab.corpora.microworld import documents
from ablab.corpora.microworld.grammar import FORMS, grammar, sentences
from ablab.corpora.microworld.state import State
from ablab.corpora.microworld.story import SPLITS, story
from ablab.corpora.microworld.world import build
from ablab.errors import InputError


def test_the_first_stories_are_the_ones_that_were_pinned() -> None:
    text = "\n".join(documents(0, 2_000, "train"))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "d7c759f8e541f5fc"


def test_asking_for_more_words_extends_the_same_stream() -> None:
    short, long = list(documents(3, 1_000, "validation")), list(documents(3, 4_000, "validation"))
    assert len(long) > len(short)
    assert long[: len(short)] == short


@pytest.mark.parametrize("words", [0, 1, 60, 3_000])
def test_a_stream_ends_with_the_story_that_reaches_its_words(words: int) -> None:
    lengths = [len(text.split()) for text in documents(0, words, "train")]
    assert sum(lengths) >= words
    assert sum(lengths[:-1]) < max(words, 1)


def test_a_story_depends_on_its_index_and_on_no_other_story() -> None:
    stream = list(documents(5, 2_000, "test"))
    random.seed(0)
    assert [story(build(5), "test", index) for index in (7, 2)] == [stream[7], stream[2]]


def test_no_story_comes_twice_in_or_across_splits() -> None:
    told = [text for split in SPLITS for text in documents(0, 40_000, split)]
    assert len(set(told)) == len(told)


def test_worlds_of_different_seeds_differ() -> None:
    facts = [tuple(build(seed).kinds.items()) for seed in range(5)]
    assert len({str(fact) for fact in facts}) == 5


def test_stories_are_plain_sentences_of_40_to_115_words() -> None:
    for text in documents(1, 30_000, "train"):
        assert text.isascii()
        assert text == " ".join(text.split())
        assert 40 <= len(text.split()) <= 115
        for sentence in sentences(text):
            assert sentence[-1] in ".?!"
            assert sentence[0].isupper()


def test_documents_with_invalid_split_names_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"split='dev'.*train, validation, test"):
        documents(0, 100, "dev")


@pytest.mark.parametrize("seed", range(5))
def test_every_word_of_a_world_has_one_class(seed: int) -> None:
    """Else a sentence could be written that is read as another or not at all."""
    world = build(seed)
    words = grammar(world)
    assert words.words.isdisjoint(words.classes)
    nonce = {*world.nonce_nouns, *world.nonce_verbs, *world.nonce_adjectives, *world.nonce_unseen}
    assert nonce.isdisjoint(words.classes)
    assert nonce.isdisjoint(words.words)


def test_no_two_forms_read_alike_and_stories_tell_every_event() -> None:
    words = grammar(build(2))
    assert len(words.patterns) == sum(len(forms) for forms in FORMS.values())
    readings = [words.read(s) for text in documents(2, 40_000, "train") for s in sentences(text)]
    assert {reading.event for reading in readings if reading is not None} == set(FORMS)


@pytest.mark.parametrize("seed", range(3))
def test_a_reader_who_only_hears_the_story_knows_what_the_teller_knew(seed: int) -> None:
    """No sentence of a story is false, and every question that is asked has a known answer."""
    world = build(seed)
    words = grammar(world)
    for text in itertools.islice(documents(seed, 10**9, "test"), 100):
        state = State(world)
        for sentence in sentences(text):
            reading = words.read(sentence)
            assert reading is not None, sentence
            verdict = state.hear(reading)
            assert verdict is not False, (sentence, text)
            if reading.event.startswith("answer"):
                assert verdict is True, (sentence, text)
