"""The stages corpus, tokenizer and tokens; their directories are described in docs/architecture.md."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ablab.corpora.encode_split import encode_split
from ablab.corpora.encoding import DocumentEncoder, token_dtype
from ablab.corpora.sources import words_of
from ablab.corpora.splits import build_splits
from ablab.corpora.streams import count_documents, read_texts
from ablab.corpora.tokenizer import load, save, train_bpe
from ablab.spec.base import build
from ablab.spec.corpus import Corpus, MicroworldSource
from ablab.spec.recipe import Tokenizer
from ablab.store.context import Progress, StageContext

_BYTES_PER_WORD = 6  # of English text, to guess how many words a file holds


def build_corpus(ctx: StageContext) -> dict[str, Any]:
    """Documents of all sources, without exact duplicates, in disjoint splits (`ablab.corpora.splits`)."""
    corpus = build(Corpus, _with_execution_fields(ctx.params))
    started = time.perf_counter()
    heard = _word_counter(ctx.progress, _expected_words(corpus, ctx.locations))
    result = build_splits(corpus, ctx.locations, ctx.out, ctx.work, heard)
    words = sum(split["words"] for split in result["splits"].values())
    _add_costs(ctx, "words", words, started)
    return result


def train_tokenizer(ctx: StageContext) -> dict[str, Any]:
    """Byte-level BPE trained on the train split alone; `tokens_per_word` is of the validation split."""
    spec = build(Tokenizer, ctx.params)
    corpus = ctx.inputs["corpus"]
    started = time.perf_counter()
    total = count_documents(corpus, "train")
    tokenizer = train_bpe(spec, _batches_with_progress(corpus / "train.parquet", ctx.progress, total))
    save(tokenizer, ctx.out)
    _add_costs(ctx, "documents", total, started)
    return {"vocab_size": spec.vocab_size, "tokens_per_word": _tokens_per_word(ctx.out, corpus / "validation.parquet")}


def tokenize(ctx: StageContext) -> dict[str, Any]:
    """Flat little-endian token streams, every document as `<s> ... </s>`."""
    dtype = token_dtype(load(ctx.inputs["tokenizer"]).get_vocab_size())
    splits = list(ctx.params["splits"])
    started = time.perf_counter()
    total = sum(count_documents(ctx.inputs["corpus"], split) for split in splits)
    result: dict[str, Any] = {"dtype": dtype.name, "tokens": {}, "documents": {}, "bytes": {}}
    for split in splits:
        tokens = documents = size = 0
        done = sum(result["documents"].values())
        with (ctx.out / f"{split}.bin").open("wb") as file:
            path = ctx.inputs["corpus"] / f"{split}.parquet"
            for part in encode_split(path, ctx.inputs["tokenizer"], dtype, ctx.numerics.threads):
                file.write(part.ids)
                tokens += len(part.ids) // dtype.itemsize
                documents += part.documents
                size += part.size
                ctx.progress(done + documents, total, "documents", split)
        result["tokens"][split], result["documents"][split], result["bytes"][split] = tokens, documents, size
    _add_costs(ctx, "tokens", sum(result["tokens"].values()), started)
    return result


def _with_execution_fields(params: Any) -> dict[str, Any]:
    """The canonical form of a corpus with the fields that are never hashed, so that it can be validated."""
    left_out: dict[str, dict[str, Any]] = {"babylm": {"path": ""}, "files": {"train": [""]}, "hub": {"repo": ""}}
    sources = [source | left_out.get(source["kind"], {}) for source in params["sources"]]
    return {**params, "sources": sources, "word_budget": None}


def _expected_words(corpus: Corpus, locations: Mapping[str, Path]) -> int:
    """Words that will be read, guessed from the size of the files where the recipe takes all of them."""
    total = 0
    for source in corpus.sources:
        if isinstance(source, MicroworldSource):
            total += source.words + source.validation_words + source.test_words
            continue
        for split, digests in source.digests.items():
            files = [digests] if isinstance(digests, str) else digests
            size = sum(locations[content].stat().st_size for content in files)
            total += words_of(source, split) or max(1, size // _BYTES_PER_WORD)
    return total


def _word_counter(progress: Progress, expected: int) -> Callable[[int], None]:
    """Adds up words and reports them; the expected total grows where the guess was too low."""
    done = 0

    def heard(words: int) -> None:
        nonlocal done
        done += words
        progress(done, max(done, expected), "words")

    return heard


def _batches_with_progress(path: Path, progress: Progress, total: int) -> Iterator[list[str]]:
    done = 0
    for texts in read_texts(path):
        yield texts
        done += len(texts)
        progress(done, total, "documents")


def _tokens_per_word(tokenizer_directory: Path, path: Path) -> float:
    """Tokens without `<s>` and `</s>` for each whitespace word."""
    tokenizer = load(tokenizer_directory)
    dtype = token_dtype(tokenizer.get_vocab_size())
    encoder = DocumentEncoder(tokenizer, dtype)
    tokens = words = 0
    for texts in read_texts(path):
        tokens += len(encoder.encode(texts)) // dtype.itemsize - 2 * len(texts)
        words += sum(len(text.split()) for text in texts)
    return tokens / words


def _add_costs(ctx: StageContext, unit: str, count: int, started: float) -> None:
    ctx.costs[unit] = float(count)
    ctx.costs[f"{unit}_per_second"] = count / max(time.perf_counter() - started, 1e-9)
