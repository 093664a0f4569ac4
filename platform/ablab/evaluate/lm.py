"""Our lm-eval model: texts become token queries, a `TokenScorer` answers them."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, NoReturn

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from tokenizers import Tokenizer

from ablab.errors import RunError
from ablab.evaluate.scoring import Query, TokenScorer


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

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        """Sums in nats. Whether greedy decoding would say the same is not worked out (False): no task asks for it.

        Equal texts are scored once, so equal options have exactly equal scores. Raises `RunError` for a text that
        is longer than the model's context, for a completion without a token, for a score that is not finite.
        """
        texts = [context + completion for context, completion in (request.args for request in requests)]
        encodings = self._encodings(texts)
        queries = [_query(encodings[text], len(request.args[0])) for text, request in zip(texts, requests, strict=True)]
        for request, query in zip(requests, queries, strict=True):
            if query.first == len(query.tokens):
                raise _no_token(request)
        return self._answers(requests, [(query,) for query in queries])

    def word_loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        """Sums in nats over the tokens of a word that is tokenized by itself, as the public pipeline reads words.

        The context of every token but the first is the text so far, tokenized anew. Errors as `loglikelihood`.
        """
        words = list(dict.fromkeys(request.args for request in requests))
        spelled = {word: self._tokenizer.encode(word, add_special_tokens=False).ids for word in {w for _, w in words}}
        steps = {word: self._steps(word[0], spelled[word[1]]) for word in words}
        for request in requests:
            if not steps[request.args]:
                raise _no_token(request)
        encodings = self._encodings([text for of_word in steps.values() for text, _ in of_word])
        parts = {
            word: tuple(Query((*encodings[text].ids, token), len(encodings[text].ids)) for text, token in of_word)
            for word, of_word in steps.items()
        }
        return self._answers(requests, [parts[request.args] for request in requests])

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

    def _answers(self, requests: Sequence[Instance], parts: Sequence[tuple[Query, ...]]) -> list[tuple[float, bool]]:
        """The sum over the queries of every request."""
        self._check_lengths(requests, parts)
        unique = list(dict.fromkeys(query for queries in parts for query in queries))
        scores = dict(zip(unique, self._scorer.completions(unique), strict=True))
        sums = [math.fsum(scores[query] for query in queries) for queries in parts]
        for request, found in zip(requests, sums, strict=True):
            if not math.isfinite(found):
                raise RunError(
                    f"item {request.doc['id']}, option {request.idx}: its log-probability is {found}",
                    "the model has diverged; evaluate an earlier checkpoint or train with a lower learning rate",
                )
        return [(found, False) for found in sums]

    def _check_lengths(self, requests: Sequence[Instance], parts: Sequence[tuple[Query, ...]]) -> None:
        limit = self._scorer.context
        if limit is None:
            return
        lengths = [max(len(query.tokens) for query in queries) for queries in parts]
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


def _query(encoding: Any, start: int) -> Query:
    """The first scored token ends past character `start`; ends never fall, and `<s>` ends at character 0."""
    first = bisect_right(encoding.offsets, start, key=_end)
    return Query(tuple(encoding.ids), max(1, first))


def _no_token(request: Instance) -> RunError:
    return RunError(f"item {request.doc['id']}, option {request.idx}: the tokenizer leaves no token of it")


def _end(offsets: tuple[int, int]) -> int:
    return offsets[1]
