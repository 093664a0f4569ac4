"""How files become documents."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablab.corpora.documents import InvalidText, documents_of, lines_of, take, text_chunks
from ablab.corpora.sources import read_source
from ablab.errors import RunError
from ablab.spec import BabyLMSource, MicroworldSource

LINE = " ".join(["word"] * 60)


def test_a_blank_line_ends_a_document() -> None:
    assert list(documents_of(["a b", "c", "", " \t", "d"])) == ["a b\nc", "d"]


def test_a_heading_begins_a_document() -> None:
    lines = ["tail of an article", "= = = Confetti = = =", "Small pieces of paper.", "= = = Poales = = =", "An order."]
    assert list(documents_of(lines)) == [
        "tail of an article",
        "= = = Confetti = = =\nSmall pieces of paper.",
        "= = = Poales = = =\nAn order.",
    ]


def test_a_document_ends_with_the_line_that_brings_it_to_150_words() -> None:
    assert [len(document.split()) for document in documents_of([LINE] * 7)] == [180, 180, 60]


def test_a_long_article_in_one_line_stays_whole() -> None:
    article = " ".join(["word"] * 5_000)
    assert list(documents_of(["= = = Long = = =", article])) == [f"= = = Long = = =\n{article}"]


@settings(deadline=None)
@given(st.lists(st.text(alphabet="ab = \n\t", max_size=30), max_size=30))
def test_no_word_is_lost_or_moved_by_cutting(lines: list[str]) -> None:
    cut = list(documents_of(lines))
    assert " ".join(cut).split() == " ".join(lines).split()
    assert all(document.strip() for document in cut)


@settings(deadline=None)
@given(st.lists(st.integers(1, 9), max_size=20), st.integers(1, 60))
def test_taken_documents_are_the_longest_prefix_that_fits(lengths: list[int], words: int) -> None:
    documents = [" ".join(["w"] * length) for length in lengths]
    taken = list(take(documents, words))
    assert taken == documents[: len(taken)]
    assert sum(lengths[: len(taken)]) <= words
    assert len(taken) == len(lengths) or sum(lengths[: len(taken) + 1]) > words


def test_lines_end_at_line_feeds_only_and_lose_carriage_returns_and_the_byte_order_mark() -> None:
    file = io.BytesIO("\ufeffone\r\ntwo\u2028still two\n\nthree".encode())
    assert list(lines_of(text_chunks(file))) == ["one", "two\u2028still two", "", "three"]


@pytest.mark.parametrize("before", [0, 7, 1 << 20, (1 << 20) + 13])
def test_invalid_utf8_is_found_at_its_byte(before: int) -> None:
    file = io.BytesIO(b"x" * before + b"\n\xc3\xa4\xff\n")
    with pytest.raises(InvalidText) as caught:
        list(text_chunks(file))
    assert caught.value.offset == before + 3


def _written(tmp_path: Path, content: bytes) -> tuple[BabyLMSource, dict[str, Path]]:
    path = tmp_path / "some.train"
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    source = BabyLMSource(name="some", path="", words=2, evaluation_words=None, digests={"train": digest})
    return source, {digest: path}


def test_a_file_is_verified_to_its_end_even_where_its_first_words_are_enough(tmp_path: Path) -> None:
    source, locations = _written(tmp_path, b"one two\n\nthree four\n")
    assert list(read_source(source, "train", locations, 1)) == ["one two"]
    next(iter(locations.values())).write_bytes(b"one two\n\nthree five\n")
    with pytest.raises(RunError, match="changed since the run began"):
        list(read_source(source, "train", locations, 1))


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    source, locations = _written(tmp_path, b"one two\n")
    next(iter(locations.values())).unlink()
    with pytest.raises(RunError, match=r"some\.train"):
        list(read_source(source, "train", locations, 1))


def test_a_microworld_gives_at_most_the_words_that_were_asked() -> None:
    source = MicroworldSource(world_seed=3, words=500, validation_words=300, test_words=200)
    for split, words in (("train", 500), ("validation", 300), ("test", 200)):
        told = sum(len(text.split()) for text in read_source(source, split, {}, 1))
        assert words - 150 < told <= words
