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
        queries = self._queries(requests)
        unique = list(dict.fromkeys(queries))
        scores = dict(zip(unique, self._scorer.completions(unique), strict=True))
        for request, query in zip(requests, queries, strict=True):
            if not math.isfinite(scores[query]):
                raise RunError(
                    f"item {request.doc['id']}, option {request.idx}: its log-probability is {scores[query]}",
                    "the model has diverged; evaluate an earlier checkpoint or train with a lower learning rate",
                )
        return [(scores[query], False) for query in queries]

    def _queries(self, requests: Sequence[Instance]) -> list[Query]:
        texts = [context + completion for context, completion in (request.args for request in requests)]
        unique = list(dict.fromkeys(texts))
        encodings = dict(zip(unique, self._tokenizer.encode_batch(unique), strict=True))
        queries = [_query(encodings[text], len(request.args[0])) for text, request in zip(texts, requests, strict=True)]
        for request, query in zip(requests, queries, strict=True):
            if query.first == len(query.tokens):
                raise RunError(f"item {request.doc['id']}, option {request.idx}: the tokenizer leaves no token of it")
        self._check_lengths(requests, queries)
        return queries

    def _check_lengths(self, requests: Sequence[Instance], queries: Sequence[Query]) -> None:
        limit = self._scorer.context
        if limit is None:
            return
        long = [(r, len(q.tokens)) for r, q in zip(requests, queries, strict=True) if len(q.tokens) > limit]
        if long:
            request, tokens = max(long, key=lambda pair: pair[1])
            raise RunError(
                f"item {request.doc['id']}, option {request.idx} has {tokens} tokens, but the model's context is "
                f"{limit} tokens ({len(long)} texts are too long, this is the longest)",
                f"use a model with a context of at least {tokens}, or leave the suite {request.doc['id']!r} is in out",
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


def _end(offsets: tuple[int, int]) -> int:
    return offsets[1]
