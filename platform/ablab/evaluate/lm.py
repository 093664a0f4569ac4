"""Our lm-eval model: texts become token queries, a `TokenScorer` answers them."""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from tokenizers import Tokenizer

from ablab.errors import RunError
from ablab.evaluate.scoring import Query, TokenScorer

Parts = list[tuple[Query, ...]]
"""Of every request the queries whose answers add up to its own."""


class Asked(NamedTuple):
    """Requests as token queries: what the next checkpoint need not do again."""

    queries: tuple[Query, ...]
    """Each once."""
    places: list[tuple[int, ...]]
    """Of every request the numbers of its queries."""
    lengths: list[int]
    """Tokens of the longest of them."""


_last_asked: dict[str, tuple[str, Asked]] = {}  # by kind of request its digest; the suites of the last checkpoint


class ScoredLM(LM):  # type: ignore[misc]
    """log p(completion | context) as the BabyLM 2025 pipeline defines it.

    Context and completion are tokenized as one text; the tokens whose last character lies past the start of the
    completion are scored, the first token of a text included (`<s>` stands before it); no length normalisation.
    """

    def __init__(self, scorer: TokenScorer, tokenizer: Tokenizer) -> None:
        super().__init__()
        self._scorer = scorer
        self._tokenizer = tokenizer
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = True  # a mark that is spelled out in an item is text, as in training
        self._shared = list(range(tokenizer.get_vocab_size()))  # one object for each id instead of one for each token

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        """Sums in nats. Whether greedy decoding would say the same is not worked out (False): no task asks for it.

        Equal texts are scored once, so equal options have exactly equal scores. Raises `RunError` for a text that
        is longer than the model's context, for a completion without a token, for a score that is not finite.
        """
        return self._answers(requests, self._asked("texts", requests, self._texts))

    def word_loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        """Sums in nats over the tokens of a word that is tokenized by itself, as the public pipeline reads words.

        The context of every token but the first is the text so far, tokenized anew. Errors as `loglikelihood`.
        """
        return self._answers(requests, self._asked("words", requests, self._words))

    def _asked(self, kind: str, requests: Sequence[Instance], build: Callable[[Sequence[Instance]], Parts]) -> Asked:
        """The queries of these requests; those of the last call again if texts and tokenizer are the same."""
        digest = self._digest(requests)
        if kind not in _last_asked or _last_asked[kind][0] != digest:
            _last_asked.pop(kind, None)
            parts = build(requests)
            numbers: dict[Query, int] = {}
            places = [tuple(numbers.setdefault(query, len(numbers)) for query in queries) for queries in parts]
            lengths = [max(len(query.tokens) for query in queries) for queries in parts]
            _last_asked[kind] = digest, Asked(tuple(numbers), places, lengths)
        return _last_asked[kind][1]

    def _digest(self, requests: Sequence[Instance]) -> str:
        total = hashlib.sha256(self._tokenizer.to_str().encode())
        for request in requests:
            for text in request.args:
                total.update(b"%d:" % len(text) + text.encode())
        return total.hexdigest()

    def _texts(self, requests: Sequence[Instance]) -> Parts:
        texts = [context + completion for context, completion in (request.args for request in requests)]
        encodings = self._encodings(texts)
        queries = [
            self._query(encodings[text], len(request.args[0])) for text, request in zip(texts, requests, strict=True)
        ]
        for request, query in zip(requests, queries, strict=True):
            if query.first == len(query.tokens):
                raise _no_token(request)
        return [(query,) for query in queries]

    def _words(self, requests: Sequence[Instance]) -> Parts:
        words = list(dict.fromkeys(request.args for request in requests))
        spelled = {word: self._tokenizer.encode(word, add_special_tokens=False).ids for word in {w for _, w in words}}
        steps = {word: self._steps(word[0], spelled[word[1]]) for word in words}
        for request in requests:
            if not steps[request.args]:
                raise _no_token(request)
        encodings = self._encodings([text for of_word in steps.values() for text, _ in of_word])
        parts = {
            word: tuple(Query((*self._tokens(encodings[t]), token), len(encodings[t].ids)) for t, token in of_word)
            for word, of_word in steps.items()
        }
        return [parts[request.args] for request in requests]

    def _steps(self, context: str, tokens: Sequence[int]) -> list[tuple[str, int]]:
        """For every token of a word the text before it and the token: the first is spelled anew behind others."""
        steps, text = [], context
        for place, token in enumerate(tokens):
            piece = self._tokenizer.decode([token], skip_special_tokens=False)
            target = token if place == 0 else self._tokenizer.encode(piece, add_special_tokens=False).ids[0]
            steps.append((text, target))
            text += piece
        return steps

    def _encodings(self, texts: Sequence[str]) -> dict[str, Any]:
        unique = list(dict.fromkeys(texts))
        return dict(zip(unique, self._tokenizer.encode_batch(unique), strict=True))

    def _tokens(self, encoding: Any) -> tuple[int, ...]:
        return tuple(map(self._shared.__getitem__, encoding.ids))

    def _query(self, encoding: Any, start: int) -> Query:
        """The first scored token ends past character `start`; ends never fall, and `<s>` ends at character 0."""
        first = bisect_right(encoding.offsets, start, key=_end)
        return Query(self._tokens(encoding), max(1, first))

    def _answers(self, requests: Sequence[Instance], asked: Asked) -> list[tuple[float, bool]]:
        """The sum over the queries of every request."""
        self._check_lengths(requests, asked.lengths)
        scores = self._scorer.completions(asked.queries)
        sums = [math.fsum(scores[number] for number in numbers) for numbers in asked.places]
        for request, found in zip(requests, sums, strict=True):
            if not math.isfinite(found):
                raise RunError(
                    f"item {request.doc['id']}, option {request.idx}: its log-probability is {found}",
                    "the model has diverged; evaluate an earlier checkpoint or train with a lower learning rate",
                )
        return [(found, False) for found in sums]

    def _check_lengths(self, requests: Sequence[Instance], lengths: Sequence[int]) -> None:
        limit = self._scorer.context
        if limit is None:
            return
        long = [(request, length) for request, length in zip(requests, lengths, strict=True) if length > limit]
        if long:
            request, tokens = max(long, key=lambda pair: pair[1])
            raise RunError(
                f"item {request.doc['id']}, option {request.idx} has {tokens} tokens, but the model's context is "
                f"{limit} tokens ({len(long)} texts are too long, this is the longest)",
                f"use a model with a context of at least {tokens}, or leave the suite "
                f"{request.doc['id'].partition('/')[0]!r} out",
            )

    def loglikelihood_rolling(self, requests: Sequence[Instance]) -> NoReturn:
        """Perplexity is measured on the token stream (`ablab.evaluate.perplexity`)."""
        raise RunError(f"{requests[0].task_name}: ablab scores options only; set output_type: multiple_choice")

    def generate_until(self, requests: Sequence[Instance]) -> NoReturn:
        """No task of ours generates."""
        raise RunError(f"{requests[0].task_name}: ablab scores options only; set output_type: multiple_choice")


def _no_token(request: Instance) -> RunError:
    return RunError(f"item {request.doc['id']}, option {request.idx}: the tokenizer leaves no token of it")


def _end(offsets: tuple[int, int]) -> int:
    return offsets[1]
