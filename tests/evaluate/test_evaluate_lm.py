"""Laws of how texts become scored tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from lm_eval.api.instance import Instance
from numpy.typing import NDArray

from ablab.corpora.requests import Query
from ablab.errors import RunError
from ablab.evaluate.lm import ScoredLM


class Recorder:
    """A model for which every token costs one nat; keeps what it was asked."""

    context = None

    def __init__(self) -> None:
        self.asked: list[Query] = []

    def completions(self, queries: Sequence[Query]) -> list[float]:
        self.asked += queries
        return [float(query.first - len(query.tokens)) for query in queries]

    def stream(self, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.full(len(tokens) - 1, -1.0)


def ask(tokenizer: Any, *pairs: tuple[str, str]) -> tuple[list[float], list[Query]]:
    scorer = Recorder()
    requests = [Instance("loglikelihood", {"id": f"s/t/{i}"}, pair, 0) for i, pair in enumerate(pairs)]
    answers = ScoredLM(scorer, tokenizer).loglikelihood(requests)
    return [score for score, _ in answers], scorer.asked


def text_of(tokenizer: Any, query: Query) -> str:
    return str(tokenizer.decode(list(query.tokens[query.first :])))


def test_without_context_every_token_but_the_start_mark_is_scored(world: Any) -> None:
    _, (query,) = ask(world.tokenizer, ("", "The key is in the box."))
    assert query.tokens[0] == world.tokenizer.token_to_id("<s>")
    assert query.first == 1


def test_with_a_context_the_tokens_of_the_completion_are_scored(world: Any) -> None:
    _, (query,) = ask(world.tokenizer, ("The key is in", " the café."))
    assert text_of(world.tokenizer, query) == " the café."


def test_a_token_across_the_border_is_scored(world: Any) -> None:
    tokenizer = world.tokenizer
    whole = tokenizer.encode("The key").offsets
    start, end = max(whole, key=lambda span: span[1] - span[0])
    assert end - start > 1
    _, (query,) = ask(tokenizer, ("The key"[: start + 1], "The key"[start + 1 :]))
    first_scored = tokenizer.encode("The key").offsets[query.first]
    assert first_scored == (start, end)


def test_characters_that_normalization_changes_keep_their_place(world: Any) -> None:
    _, (query,) = ask(world.tokenizer, ("The ﬁve", " keys"))
    assert text_of(world.tokenizer, query) == " keys"


def test_a_mark_that_is_spelled_out_is_text(world: Any) -> None:
    _, (query,) = ask(world.tokenizer, ("", "The <s> key"))
    assert query.tokens.count(world.tokenizer.token_to_id("<s>")) == 1


def test_equal_requests_are_asked_once_and_answered_each_in_its_place(world: Any) -> None:
    pairs = [("The", " key"), ("The key is", " in the box."), ("The", " key"), ("", "The key")]
    scores, asked = ask(world.tokenizer, *pairs)
    assert len(asked) == 3
    assert scores[0] == scores[2] != scores[1]


def test_a_completion_that_leaves_no_token_is_an_error(world: Any) -> None:
    with pytest.raises(RunError, match="item s/t/0, option 0: the tokenizer leaves no token of it"):
        ask(world.tokenizer, ("The key", ""))
