"""Our lm-eval model: texts become token queries, a `TokenScorer` answers them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from tokenizers import Tokenizer

from ablab.corpora.requests import Place, Query, Request, Speller, read_requests, too_long
from ablab.errors import RunError
from ablab.evaluate.scoring import TokenScorer


class Asked(NamedTuple):
    """Requests as token queries: what the next checkpoint need not do again."""

    queries: tuple[Query, ...]
    """Each once."""
    places: list[tuple[int, ...]]
    """Of every request the numbers of its queries."""
    lengths: list[int]
    """Tokens of the longest of them."""


_last_asked: dict[bool, tuple[str, Asked]] = {}  # texts (False) and words (True) of the last checkpoint


class ScoredLM(LM):  # type: ignore[misc]
    """log p(completion | context) as the BabyLM 2025 pipeline defines it (`ablab.corpora.requests`).

    No length normalisation. prepared: a requests directory, from which the items of its suites are read.
    """

    def __init__(self, scorer: TokenScorer, tokenizer: Tokenizer, prepared: Path | None = None) -> None:
        super().__init__()
        self._scorer = scorer
        self._tokenizer = tokenizer
        self._speller = Speller(tokenizer)
        self._prepared = prepared

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        """Sums in nats. Whether greedy decoding would say the same is not worked out (False): no task asks for it.

        Equal texts are scored once, so equal options have exactly equal scores. Raises `RunError` for a text that
        is longer than the model's context, for a completion without a token, for a score that is not finite.
        """
        return self._answers(requests, self._asked(requests, False))

    def word_loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        """Sums in nats over the tokens of a word that is tokenized by itself. Errors as `loglikelihood`."""
        return self._answers(requests, self._asked(requests, True))

    def _asked(self, requests: Sequence[Instance], word: bool) -> Asked:
        """The queries of these requests; those of the last call again if texts and tokenizer are the same."""
        digest = self._digest(requests)
        if word not in _last_asked or _last_asked[word][0] != digest:
            _last_asked.pop(word, None)
            parts = self._parts([Request((_id(request), request.idx), request.args, word) for request in requests])
            numbers: dict[Query, int] = {}
            places = [tuple(numbers.setdefault(query, len(numbers)) for query in queries) for queries in parts]
            lengths = [max(len(query.tokens) for query in queries) for queries in parts]
            _last_asked[word] = digest, Asked(tuple(numbers), places, lengths)
        return _last_asked[word][1]

    def _digest(self, requests: Sequence[Instance]) -> str:
        total = hashlib.sha256(self._tokenizer.to_str().encode())
        for request in requests:
            for text in request.args:
                total.update(b"%d:" % len(text) + text.encode())
        return total.hexdigest()

    def _parts(self, requests: Sequence[Request]) -> list[tuple[Query, ...]]:
        """What was prepared, and the rest spelled now."""
        found: dict[Place, tuple[Query, ...]] = {}
        if self._prepared is not None:
            for suite in dict.fromkeys(request.place[0].partition("/")[0] for request in requests):
                path = self._prepared / f"{suite}.parquet"
                found |= read_requests(path, self._speller.ids) if path.is_file() else {}
        rest = [request for request in requests if request.place not in found]
        found |= zip((request.place for request in rest), self._speller.spell(rest), strict=True)
        return [found[request.place] for request in requests]

    def _answers(self, requests: Sequence[Instance], asked: Asked) -> list[tuple[float, bool]]:
        """The sum over the queries of every request."""
        self._check_lengths(requests, asked.lengths)
        scores = self._scorer.completions(asked.queries)
        sums = [math.fsum(scores[number] for number in numbers) for numbers in asked.places]
        for request, found in zip(requests, sums, strict=True):
            if not math.isfinite(found):
                raise RunError(
                    f"item {_id(request)}, option {request.idx}: its log-probability is {found}",
                    "the model has diverged; evaluate an earlier checkpoint or train with a lower learning rate",
                )
        return [(found, False) for found in sums]

    def _check_lengths(self, requests: Sequence[Instance], lengths: Sequence[int]) -> None:
        limit = self._scorer.context
        if limit is not None and (longest := max(lengths)) > limit:
            request = requests[lengths.index(longest)]
            texts = sum(length > limit for length in lengths)
            raise RunError(
                too_long(_id(request), request.idx, longest, limit, texts),
                f"use a model with a context of at least {longest}, or leave the suite "
                f"{_id(request).partition('/')[0]!r} out",
            )

    def loglikelihood_rolling(self, requests: Sequence[Instance]) -> NoReturn:
        """Perplexity is measured on the token stream (`ablab.evaluate.perplexity`)."""
        raise RunError(f"{requests[0].task_name}: ablab scores options only; set output_type: multiple_choice")

    def generate_until(self, requests: Sequence[Instance]) -> NoReturn:
        """No task of ours generates."""
        raise RunError(f"{requests[0].task_name}: ablab scores options only; set output_type: multiple_choice")


def _id(request: Instance) -> str:
    return str(request.doc["id"])
