"""Duplicates are left out of the text, never out of the sequences, and only when that is declared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow.parquet as pq
import pytest

from ablab.generate.duplicates import duplicates_of
from ablab.generate.stage import generate
from ablab.generate.text import DocumentWriter
from ablab.spec.synthetic import ExactDuplicates, NearDuplicates, Synthetic
from ablab.store.context import StageContext

STORY = "Anna put the red ball into the green box and then she went to the old mill by the river with Tom and Mary"
NEARLY = STORY.replace("Mary", "Jane")
OTHER = "Tom has a cat that sleeps in the kitchen all day long while the dog runs after the hens in the yard"


def kept(declared: ExactDuplicates | NearDuplicates | None, texts: list[str]) -> list[bool]:
    duplicates = duplicates_of(declared)
    return [not duplicates.seen(text) for text in texts]


def test_equal_words_are_exact_duplicates_whatever_the_white_space() -> None:
    texts = [STORY, OTHER, STORY.replace(" the", "\n the"), NEARLY, STORY.lower()]
    assert kept(ExactDuplicates(), texts) == [True, True, False, True, True]
    assert kept(None, texts) == [True] * 5


def test_near_duplicates_share_most_of_their_ngrams() -> None:
    texts = [STORY, OTHER, NEARLY, STORY, "Hm.", "Hm.", "Oh no."]
    assert kept(NearDuplicates(similarity=0.8, ngram=3), texts) == [True, True, False, False, True, False, True]
    assert kept(NearDuplicates(similarity=1.0, ngram=3), texts) == [True, True, True, False, True, False, True]


def test_the_writer_counts_what_it_left_out(tmp_path: Any) -> None:
    with DocumentWriter(tmp_path / "train.parquet", duplicates_of(ExactDuplicates())) as writer:
        writer.add(0, [STORY, OTHER])
        writer.add(1, [OTHER, STORY, NEARLY])
    assert (writer.documents, writer.duplicates_removed) == (3, 2)
    assert pq.read_table(tmp_path / "train.parquet").column("id").to_pylist() == ["0/0", "0/1", "1/2"]


@pytest.mark.parametrize("kind", [{"kind": "exact"}, {"kind": "near", "similarity": 0.9, "ngram": 1}])
def test_a_corpus_without_duplicates_has_the_same_sequences(
    kind: dict[str, Any], context: Callable[..., StageContext], params: Callable[..., dict[str, Any]]
) -> None:
    """At a head of one word the continuations of one prompt are all the same."""
    plain = params(strength=0.0, alpha=1.0, bad=None)
    whole, without = context(plain, "whole"), context(plain | {"duplicates": kind}, "without")
    all_of_it, rest = generate(whole), generate(without)
    assert (without.out / "sequences.bin").read_bytes() == (whole.out / "sequences.bin").read_bytes()
    assert all_of_it["duplicates_removed"] == 0
    assert 0 < rest["duplicates_removed"] == all_of_it["documents"] - rest["documents"]
    texts = pq.read_table(without.out / "train.parquet").column("text").to_pylist()
    assert len({" ".join(text.split()) for text in texts}) == len(texts)


def test_an_undeclared_removal_leaves_the_identity_of_a_corpus_alone(params: Callable[..., dict[str, Any]]) -> None:
    declared = {name: value for name, value in params().items() if name in Synthetic.model_fields}
    assert "duplicates" not in Synthetic.model_validate(declared).canonical()
