"""The stage requests: what suites ask of a model, as tokens. Done once for all checkpoints with one tokenizer.

Text is asked for as the BabyLM 2025 pipeline defines it: context and completion are tokenized as one text; the tokens
whose last character lies past the start of the completion are scored, the first token of a text included (`<s>` stands
before it). A word that was read is tokenized by itself; the context of every token but the first is the text so far,
tokenized anew.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Encoding, Tokenizer

from ablab.corpora import tokenizer as bpe
from ablab.corpora.suite_ewok import read_archive, with_text
from ablab.errors import RunError
from ablab.store.context import StageContext

Pair = tuple[str, str]
"""A context and the completion that is scored behind it."""
Place = tuple[str, int]
"""Id of an item, and the number of what is asked of it: an option, or a read word and the word before it."""

REMEDY = "use a model with a longer context, or leave these suites out"
SCHEMA = pa.schema(
    [("item", pa.string()), ("option", pa.int32()), ("first", pa.int32()), ("tokens", pa.list_(pa.int32()))]
)


@dataclass(frozen=True)
class Query:
    """The tokens of a whole text (context and completion, `<s>` in front) and the index of the first scored one."""

    tokens: tuple[int, ...]
    first: int


Parts = list[tuple[Query, ...]]
"""Of every request the queries whose log-probabilities add up to its own."""


class Request(NamedTuple):
    """One thing that is asked of a model."""

    place: Place
    pair: Pair
    word: bool
    """A read word that is tokenized by itself."""


def requests_of(row: Mapping[str, Any]) -> list[Request]:
    """What is asked of an item of a suite, in order."""
    if "predictors" not in row:
        return [Request((row["id"], n), (row["context"], option), False) for n, option in enumerate(row["options"])]
    pairs = [(row["context"], row["options"][0])]
    if "previous" in row:
        pairs.append((row["previous"]["context"], row["previous"]["option"]))
    return [Request((row["id"], n), pair, not pair[1].startswith(" ")) for n, pair in enumerate(pairs)]


class Speller:
    """Turns text into queries with one tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = True  # a mark that is spelled out in an item is text, as in training
        self.ids = list(range(tokenizer.get_vocab_size()))
        """One object for each id instead of one for each token."""

    def spell(self, requests: Sequence[Request]) -> Parts:
        """The queries of every request. Raises `RunError` for a completion without a token."""
        texts = iter(self.texts([request.pair for request in requests if not request.word]))
        words = iter(self.words([request.pair for request in requests if request.word]))
        parts = [next(words if request.word else texts) for request in requests]
        for request, queries in zip(requests, parts, strict=True):
            if not queries or queries[0].first == len(queries[0].tokens):
                item, option = request.place
                raise RunError(f"item {item}, option {option}: the tokenizer leaves no token of it")
        return parts

    def texts(self, pairs: Sequence[Pair]) -> Parts:
        """One query for every completion; without a scored token where nothing is left of it."""
        encodings = self._encodings([context + completion for context, completion in pairs])
        return [(self._query(encodings[context + completion], len(context)),) for context, completion in pairs]

    def words(self, pairs: Sequence[Pair]) -> Parts:
        """One query for every token of a word."""
        unique = list(dict.fromkeys(pairs))
        spelled = {word: self._tokenizer.encode(word, add_special_tokens=False).ids for word in {w for _, w in unique}}
        steps = {pair: self._steps(pair[0], spelled[pair[1]]) for pair in unique}
        encodings = self._encodings([text for of_word in steps.values() for text, _ in of_word])
        parts = {
            pair: tuple(Query((*self._tokens(encodings[t]), token), len(encodings[t].ids)) for t, token in of_word)
            for pair, of_word in steps.items()
        }
        return [parts[pair] for pair in pairs]

    def _steps(self, context: str, tokens: Sequence[int]) -> list[tuple[str, int]]:
        """For every token of a word the text before it and the token: the first is spelled anew behind others."""
        steps, text = [], context
        for place, token in enumerate(tokens):
            piece = self._tokenizer.decode([token], skip_special_tokens=False)
            target = token if place == 0 else self._tokenizer.encode(piece, add_special_tokens=False).ids[0]
            steps.append((text, target))
            text += piece
        return steps

    def _encodings(self, texts: Sequence[str]) -> dict[str, Encoding]:
        unique = list(dict.fromkeys(texts))
        return dict(zip(unique, self._tokenizer.encode_batch(unique), strict=True))

    def _tokens(self, encoding: Encoding) -> tuple[int, ...]:
        return tuple(map(self.ids.__getitem__, encoding.ids))

    def _query(self, encoding: Encoding, start: int) -> Query:
        """The first scored token ends past character `start`; ends never fall, and `<s>` ends at character 0."""
        first = bisect_right(encoding.offsets, start, key=_end)
        return Query(self._tokens(encoding), max(1, first))


def _end(offsets: tuple[int, int]) -> int:
    return offsets[1]


def build_requests(ctx: StageContext, documents: Mapping[str, Sequence[Request]]) -> dict[str, Any]:
    """Write `<suite>.parquet`, one row for every query; of an encrypted suite, and of `documents`, lengths alone.

    documents: what lm-eval's own tasks ask, by suite (`ablab.evaluate.requests`).

    Raises `RunError` with the longest item of every suite that has one beyond `params["context"]`.
    """
    suites = _suites(ctx.inputs["suite"])
    speller = Speller(bpe.load(ctx.inputs["tokenizer"]))
    result: dict[str, Any] = {}
    long: list[str] = []
    for name, suite in suites.items():
        stored = not {"encrypted", "lm_eval"} & set(suite)
        requests = documents[name] if name in documents else _requests(ctx.inputs["suite"] / name, suite, ctx.locations)
        parts = speller.spell(requests)
        result[name], fault = _longest(requests, parts, ctx.params["context"])
        long += fault
        if stored:
            _write(ctx.out / f"{name}.parquet", requests, parts)
        ctx.progress(len(result), len(suites), "suites")
    if long:
        raise RunError("\n".join(long), REMEDY)
    return {"suites": result}


def long_items(suite: Path, tokenizer: Path, context: int, locations: Mapping[str, Path | str]) -> list[str]:
    """What `build_requests` would refuse of two finished stages: of every suite its longest item, where too long.

    Of lm-eval's own tasks nothing: what they ask is known to their code alone. locations: encrypted zips by SHA-256.
    """
    speller = Speller(bpe.load(tokenizer))
    found: list[str] = []
    for name, entry in _suites(suite).items():
        if "lm_eval" not in entry:
            requests = _requests(suite / name, entry, locations)
            found += _longest(requests, speller.spell(requests), context)[1]
    return [f"{fault}; {REMEDY}" for fault in found]


def _suites(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))["suites"]
    return found


def _requests(folder: Path, suite: Mapping[str, Any], locations: Mapping[str, Path | str]) -> list[Request]:
    """What the rows of a suite ask. The text of an encrypted one is in memory alone."""
    found: list[Request] = []
    for task in suite["tasks"]:
        with (folder / f"{task}.jsonl").open(encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        if digest := suite.get("encrypted"):
            text = read_archive(Path(locations[digest]), digest, task)[task]
            rows = [with_text(row, text) for row in rows]
        found += [request for row in rows for request in requests_of(row)]
    return found


def _longest(requests: Sequence[Request], parts: Parts, context: int) -> tuple[dict[str, int], list[str]]:
    """Numbers of a suite, and its longest text if the model cannot read it."""
    lengths = [max(len(query.tokens) for query in queries) for queries in parts]
    longest = max(lengths, default=0)
    numbers = {"requests": len(requests), "queries": sum(map(len, parts)), "longest_tokens": longest}
    if longest <= context:
        return numbers, []
    item, option = requests[lengths.index(longest)].place
    return numbers, [too_long(item, option, longest, context, sum(length > context for length in lengths))]


def too_long(item: str, option: int, tokens: int, context: int, texts: int) -> str:
    """The line that says so, of the longest of some texts."""
    return (
        f"item {item}, option {option} has {tokens} tokens, but the model's context is {context} tokens "
        f"({texts} texts are too long, this is the longest)"
    )


def _write(path: Path, requests: Sequence[Request], parts: Parts) -> None:
    rows = [(request.place, query) for request, queries in zip(requests, parts, strict=True) for query in queries]
    lengths = [len(query.tokens) for _, query in rows]
    flat = np.fromiter((token for _, query in rows for token in query.tokens), np.int32, sum(lengths))
    columns = [
        pa.array([item for (item, _), _ in rows], pa.string()),
        pa.array([option for (_, option), _ in rows], pa.int32()),
        pa.array([query.first for _, query in rows], pa.int32()),
        pa.ListArray.from_arrays(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32), flat),
    ]
    pq.write_table(pa.table(columns, schema=SCHEMA), path, compression="zstd")


def read_requests(path: Path, ids: Sequence[int]) -> dict[Place, tuple[Query, ...]]:
    """The queries of every request of a suite. ids: one object for each token (`Speller.ids`)."""
    table = pq.read_table(path).combine_chunks()
    tokens = table.column("tokens").chunk(0)
    flat, ends = tokens.values.to_numpy(), tokens.offsets.to_pylist()
    parts: dict[Place, tuple[Query, ...]] = {}
    rows = zip(*(table.column(name).to_pylist() for name in ("item", "option", "first")), ends, ends[1:], strict=False)
    for item, option, first, start, end in rows:
        query = Query(tuple(map(ids.__getitem__, flat[start:end].tolist())), first)
        parts[item, option] = (*parts.get((item, option), ()), query)
    return parts
