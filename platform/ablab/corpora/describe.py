"""The stage describe: what a generated corpus is like, beside the real one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from ablab.corpora import microworld
from ablab.corpora.ngrams import DistinctNgrams, NgramHasher, ngrams, stream_ngrams
from ablab.corpora.splits import OVERLAP_N
from ablab.corpora.streams import count_documents, read_documents, read_texts
from ablab.store.context import StageContext

SAMPLES = 8
_DISTINCT = (1, 2, 3)


def describe(ctx: StageContext) -> dict[str, Any]:
    """Statistics of the train split of a generated corpus.

    `distinct_n`: distinct n-grams of words over all (Li et al. 2016). `overlap_13gram`: share of its distinct 13-grams
    that the real train or seed split holds (a kept prompt is seed text). `rate`: share of the statements that are
    true of the world, from 0 to 1, null without statements; a text is judged by the world that it fits best.
    """
    corpus, real = ctx.inputs["corpus"], ctx.inputs["real"]
    documents = words = 0
    grams = {n: DistinctNgrams() for n in (*_DISTINCT, OVERLAP_N)}
    hasher = NgramHasher()
    total = count_documents(corpus, "train")
    for texts in read_texts(corpus / "train.parquet"):
        hashes, following = hasher.words(texts)
        for n, found in grams.items():
            found.add(ngrams(hashes, following, n))
        documents += len(texts)
        words += sum(len(text.split()) for text in texts)
        ctx.progress(documents, total, "documents")
    real_texts = chain(read_texts(real / "train.parquet"), read_texts(real / "seed.parquet"))
    _write_samples(corpus, ctx.out)
    return {
        "documents": documents,
        "words": words,
        "mean_words": words / documents if documents else 0.0,
        **{f"distinct_{n}": _share(grams[n].distinct, grams[n].total) for n in _DISTINCT},
        "overlap_13gram": grams[OVERLAP_N].held_by(stream_ngrams(real_texts, OVERLAP_N)),
        "consistency": _consistency(
            ctx.params["world_seeds"], chain.from_iterable(read_texts(corpus / "train.parquet"))
        ),
    }


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


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


def _write_samples(corpus: Path, out: Path) -> None:
    """The first few texts, for people to read."""
    first = islice(read_documents(corpus, "train"), SAMPLES)
    samples = [{"id": name, "text": text} for name, _, text in first]
    (out / "samples.json").write_text(json.dumps(samples, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
