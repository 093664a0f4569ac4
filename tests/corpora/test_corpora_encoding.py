"""The fast encoder gives the ids of the tokenizer, whatever the text, the processes and what it remembers."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from corpora_helper import documents
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Bpe

from ablab.corpora import encode_split as module
from ablab.corpora import encoding
from ablab.corpora.documents import Document
from ablab.corpora.encode_split import encode_split
from ablab.corpora.encoding import DocumentEncoder, token_dtype
from ablab.corpora.streams import DocumentWriter
from ablab.corpora.tokenizer import encode_documents, save, train_bpe
from ablab.errors import RunError
from ablab.spec import Tokenizer

U16 = np.dtype("<u2")

WORDS = [
    "It's",
    "they'll've",
    "naïve café",
    "日本 語",
    "x-1,000.5",
    "…",
    "\ufb01sh",
    "e\u0301",
    "½",
    "'s",
    "'S",
    "</s>",
]
SPACES = [" ", "  ", "\n", "\n\n", " \n ", "\r\n", "\t", "\u00a0", "\u2028", "\u3000", "\x0b", "\x1c", "\x85", "\u200b"]
MARKS = ["\u0301", " \u0301", "\u00b4", "\ufdfa", "\u0344", "\u1100\u1161", "\x00", "\ufeff", "\u00ad", "\u202f"]

TEXTS = st.lists(st.sampled_from([*WORDS, *SPACES, *MARKS]) | st.text(max_size=4), max_size=25).map("".join)


def tokenizer_of(normalization: Literal["NFKC", "none"]) -> Bpe:
    texts = [documents(40), *WORDS, "it's the cat's 'tis they'll  go\n\nnow", "naïve café fish"] * 3
    return train_bpe(Tokenizer(vocab_size=340, normalization=normalization), [texts])


TOKENIZERS = {"NFKC": tokenizer_of("NFKC"), "none": tokenizer_of("none")}


@pytest.mark.parametrize("normalization", TOKENIZERS)
@settings(max_examples=300, deadline=None)
@given(texts=st.lists(TEXTS, max_size=6))
def test_the_ids_of_a_text_are_those_that_the_tokenizer_gives_it_whole(normalization: str, texts: list[str]) -> None:
    encoder = DocumentEncoder(TOKENIZERS[normalization], U16)
    expected = [number for ids in encode_documents(TOKENIZERS[normalization], texts) for number in ids]
    for _ in range(2):  # from the tokenizer, and from what is remembered
        assert np.frombuffer(encoder.encode(texts), U16).tolist() == expected


def test_what_is_remembered_is_bounded_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"{seed} {text}" for seed in range(4) for text in documents(30, seed).split("\n\n")]
    expected = DocumentEncoder(TOKENIZERS["NFKC"], U16).encode(texts)
    monkeypatch.setattr(encoding, "KNOWN", 50)
    monkeypatch.setattr(encoding, "_CHARACTERS", 200)
    encoder = DocumentEncoder(TOKENIZERS["NFKC"], U16)
    assert encoder.encode(texts) == expected
    assert len(encoder._units) < 150


@pytest.fixture
def split(tmp_path: Path) -> tuple[Path, Path]:
    """A split of twelve row groups, and the directory of a tokenizer."""
    with DocumentWriter(tmp_path / "train.parquet", rows=10) as writer:
        for number, text in enumerate(documents(115).strip().split("\n\n")):
            writer.write(Document(str(number), "one", f"{text} ü{number}"))
    save(TOKENIZERS["NFKC"], tmp_path)
    return tmp_path / "train.parquet", tmp_path


def test_the_processes_give_the_same_in_the_same_order(split: tuple[Path, Path]) -> None:
    path, tokenizer = split
    one, several = (list(encode_split(path, tokenizer, token_dtype(340), threads)) for threads in (1, 3))
    assert one == several
    assert [part.documents for part in one] == [10] * 11 + [5]
    texts = [text + f" ü{number}" for number, text in enumerate(documents(115).strip().split("\n\n"))]
    assert sum(part.size for part in one) == sum(len(text.encode()) for text in texts)
    assert b"".join(part.ids for part in one) == DocumentEncoder(TOKENIZERS["NFKC"], U16).encode(texts)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The processes that are started."""
    made: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def start(*arguments: Any, **settings: Any) -> subprocess.Popen[bytes]:
        made.append(real(*arguments, **settings))
        return made[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr(module, "MANY_GROUPS", 1)
    return made


def test_a_process_that_ends_early_is_an_error_and_none_is_left(
    split: tuple[Path, Path], started: list[subprocess.Popen[bytes]]
) -> None:
    (split[1] / "tokenizer.json").write_text("{")  # the processes cannot load it
    with pytest.raises(RunError, match="has ended early"):
        list(encode_split(*split, U16, 3))
    assert len(started) == 3 and all(process.poll() is not None for process in started)


def test_whoever_stops_reading_leaves_no_process(
    split: tuple[Path, Path], started: list[subprocess.Popen[bytes]]
) -> None:
    parts = encode_split(*split, U16, 3)
    next(parts)
    parts.close()
    assert len(started) == 3 and all(process.poll() is not None for process in started)
