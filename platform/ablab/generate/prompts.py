"""Prompts: the beginnings of chunks of the seed split, which no model was trained on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from ablab.errors import RunError
from ablab.generate.text import Vocabulary
from ablab.spec.synthetic import Prompts

WORD = re.compile(r"\S+")


def read_prompts(corpus: Path, vocabulary: Vocabulary, declared: Prompts) -> npt.NDArray[np.int64]:
    """int64 [prompts, declared.tokens], in the order of the seed split's documents and of their chunks.

    Chunks with fewer tokens than a prompt are left out. Raises `RunError` when none is left.
    """
    texts = pq.read_table(corpus / "seed.parquet", columns=["text"]).column("text").to_pylist()
    chunks = [chunk for text in texts for chunk in chunked(text, declared.chunk_words)]
    prompts_PS = vocabulary.prompts(chunks, declared.tokens)
    if not len(prompts_PS):
        raise RunError(
            f"the seed split gives no prompt: none of its {len(chunks)} chunks of prompts.chunk_words="
            f"{declared.chunk_words} words ({len(texts)} documents) has prompts.tokens={declared.tokens} tokens",
            "lower synthetic.prompts.tokens, or raise synthetic.prompts.chunk_words or corpus.seed_share",
        )
    return prompts_PS


def chunked(text: str, words: int) -> Iterator[str]:
    """The text cut behind every `words` whitespace words, white space inside a chunk kept; the last may be shorter."""
    spans = [match.span() for match in WORD.finditer(text)]
    for first in range(0, len(spans), words):
        last = min(first + words, len(spans)) - 1
        yield text[spans[first][0] : spans[last][1]]


def read_contexts(corpus: Path, vocabulary: Vocabulary, count: int, length: int) -> list[list[int]]:
    """Ids of real text from all over the seed split, `<s>` first: at most `count` texts of at most `length` ids.

    Raises `RunError` where the split is empty.
    """
    texts = pq.read_table(corpus / "seed.parquet", columns=["text"]).column("text")
    several = min(count, len(texts))
    chosen = (texts[at * len(texts) // several].as_py() for at in range(several))
    chunks = [chunk for text in chosen for chunk in islice(chunked(text, length), -(-count // several))][:count]
    if not chunks:
        raise RunError("the seed split holds no text", "raise corpus.seed_share")
    return [encoding.ids[:length] for encoding in vocabulary.tokenizer.encode_batch_fast(chunks)]
