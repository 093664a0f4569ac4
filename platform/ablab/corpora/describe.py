"""The stage describe: what a corpus is like, and how much of it stands in training, prompt and evaluation text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablab.corpora import microworld
from ablab.corpora.lengths import Lengths
from ablab.corpora.ngrams import DistinctNgrams, NgramHasher, ngrams, stream_ngrams
from ablab.corpora.splits import OVERLAP_N
from ablab.corpora.streams import count_documents, read_documents, read_texts
from ablab.store.context import StageContext

SAMPLES = 8
_DISTINCT = (1, 2, 3)
_ROWS = 4096  # of a suite, whose texts are in memory at once


def describe(ctx: StageContext) -> dict[str, Any]:
    """Statistics of the train split of a generated corpus, or of the real one when that is both inputs.

    `distinct_n`: distinct n-grams of words over all (Li et al. 2016). `overlap`: share of the corpus's distinct
    13-grams that the real train (null for the real corpus itself) or seed split holds; `overlap_13gram`: that either
    holds (a kept prompt is seed text). `evaluation`: by suite its distinct 13-grams and the share of them that the
    corpus holds (null where all items are shorter), over all suites `evaluation_13gram`; encrypted suites are not read
    and stand in `unread`. `rate`: share of the statements that are true of the world, from 0 to 1, null without
    statements; a text is judged by the world that it fits best.
    """
    corpus, real = ctx.inputs["corpus"], ctx.inputs["real"]
    suites, unread = _suites(ctx.inputs["suite"])
    lengths = Lengths()
    grams = {n: DistinctNgrams() for n in (*_DISTINCT, OVERLAP_N)}
    found = {name: suite.nothing_found() for name, suite in suites.items()}
    hasher = NgramHasher()
    total = count_documents(corpus, "train")
    for texts in read_texts(corpus / "train.parquet"):
        hashes, following = hasher.words(texts)
        for n, distinct in grams.items():
            distinct.add(ngrams(hashes, following, n))
        long = ngrams(hashes, following, OVERLAP_N)
        for name, suite in suites.items():
            suite.mark(long, found[name])
        for text in texts:
            lengths.add(len(text.split()))
        ctx.progress(lengths.documents, total, "documents")
    _write_samples(corpus, corpus == real, ctx.out)
    return {
        "documents": lengths.documents,
        "words": lengths.words,
        "mean_words": _share(lengths.words, lengths.documents),
        "lengths": lengths.quantiles(),
        "length_histogram": lengths.histogram(),
        **{f"distinct_{n}": _share(grams[n].distinct, grams[n].total) for n in _DISTINCT},
        **_overlap(grams[OVERLAP_N], corpus, real),
        **_held(found),
        "unread": unread,
        "consistency": _consistency(
            ctx.params["world_seeds"], chain.from_iterable(read_texts(corpus / "train.parquet"))
        ),
    }


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _overlap(grams: DistinctNgrams, corpus: Path, real: Path) -> dict[str, Any]:
    """Shares of the corpus's 13-grams that the splits of the real text hold."""
    marks = {
        split: grams.held(stream_ngrams(read_texts(real / f"{split}.parquet"), OVERLAP_N))
        for split in ("train", "seed")
        if split == "seed" or corpus != real
    }
    either = np.logical_or.reduce(list(marks.values()))
    shares = {split: _mean(held) for split, held in marks.items()}
    return {"overlap": {"train": None, **shares}, "overlap_13gram": _mean(either) if corpus != real else None}


def _held(found: Mapping[str, NDArray[np.bool_]]) -> dict[str, Any]:
    """What was found of the n-grams of every suite, and of all of them."""
    total = sum(len(held) for held in found.values())
    return {
        "evaluation_13gram": sum(int(held.sum()) for held in found.values()) / total if total else None,
        "evaluation": {
            name: {"ngrams": len(held), "held": _mean(held) if len(held) else None} for name, held in found.items()
        },
    }


def _mean(held: NDArray[np.bool_]) -> float:
    return float(held.mean()) if len(held) else 0.0


def _suites(directory: Path) -> tuple[dict[str, DistinctNgrams], list[str]]:
    """The 13-grams of every suite, each item with every option behind its context, and the suites without text."""
    about = json.loads((directory / "result.json").read_text(encoding="utf-8"))["suites"]
    read: dict[str, DistinctNgrams] = {}
    for name, suite in about.items():
        if not {"encrypted", "lm_eval"} & set(suite):
            read[name] = DistinctNgrams()
            for task in suite["tasks"]:
                for values in stream_ngrams(_item_texts(directory / name / f"{task}.jsonl"), OVERLAP_N):
                    read[name].add(values)
    return read, [name for name in about if name not in read]


def _item_texts(path: Path) -> Iterator[list[str]]:
    with path.open(encoding="utf-8") as file:
        while rows := [json.loads(line) for line in islice(file, _ROWS)]:
            yield [f"{row['context']} {option}" for row in rows for option in row["options"]]


def _consistency(seeds: Sequence[int], texts: Iterable[str]) -> dict[str, Any] | None:
    if not seeds:
        return None
    statements = true = 0
    for text in texts:
        readings = [microworld.consistency(seed, [text]) for seed in seeds]
        best = max(readings, key=lambda reading: reading.true - reading.contradicted)
        statements += best.statements
        true += best.true
    return {"statements": statements, "true": true, "rate": _share(true, statements) if statements else None}


def _write_samples(corpus: Path, is_real: bool, out: Path) -> None:
    """The first few texts, for people to read; of generated text all that came of the first few sequences."""
    started: set[str] = set()
    samples = []
    for name, _, text in read_documents(corpus, "train"):
        started.add(name if is_real else name.partition("/")[0])
        if len(started) > SAMPLES:
            break
        samples.append({"id": name, "text": text})
    (out / "samples.json").write_text(json.dumps(samples, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
