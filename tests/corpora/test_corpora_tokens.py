"""The tokenizer, the token streams and the packed blocks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpora_helper import WORLD, documents, recipe

from ablab.corpora.documents import Document
from ablab.corpora.streams import DocumentWriter, open_stream, read_documents
from ablab.corpora.tokenizer import BOS, EOS, PAD, UNK, encode_documents, load
from ablab.errors import RunError
from ablab.spec import Replicate, lower

BPE = {"kind": "bpe", "vocab_size": 300, "normalization": "NFKC"}

TRICKY = "A </s> in text,\tan \ufb01sh, 日本, no\u00a0break, \n\n two lines 🙂"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A corpus directory with the four splits."""
    texts = {"train": documents(80), "seed": documents(9, 1), "validation": documents(9, 2), "test": documents(9, 3)}
    (tmp_path / "corpus").mkdir()
    for split, text in texts.items():
        rows = [*text.strip().split("\n\n"), TRICKY]
        with DocumentWriter(tmp_path / "corpus" / f"{split}.parquet") as writer:
            for index, row in enumerate(rows):
                writer.write(Document(f"one/{split}/{index}", "one", row))
    return tmp_path / "corpus"


@pytest.fixture
def tokenizer(corpus: Path, run_stage: Any) -> Path:
    directory: Path = run_stage("tokenizer", BPE, {"corpus": corpus})
    return directory


@pytest.fixture
def tokens(corpus: Path, tokenizer: Path, run_stage: Any) -> Path:
    inputs = {"corpus": corpus, "tokenizer": tokenizer}
    directory: Path = run_stage("tokens", {"splits": ["train", "validation", "test"]}, inputs)
    return directory


def test_special_tokens_have_the_ids_0_to_3_and_bos_stands_in_front(tokenizer: Path) -> None:
    loaded = load(tokenizer)
    assert [loaded.token_to_id(token) for token in ("<unk>", "<s>", "</s>", "<pad>")] == [UNK, BOS, EOS, PAD]
    ids = loaded.encode("w1 w2").ids
    assert ids[0] == BOS and EOS not in ids


def test_transformers_loads_the_tokenizer_and_agrees(tokenizer: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    theirs = PreTrainedTokenizerFast.from_pretrained(str(tokenizer))
    specials = (theirs.unk_token_id, theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id)
    assert specials == (UNK, BOS, EOS, PAD)
    text = "w1 then w22, and so on"
    assert theirs(text)["input_ids"] == load(tokenizer).encode(text).ids
    assert theirs.decode(theirs(text)["input_ids"], skip_special_tokens=True) == text


def test_equal_text_gives_an_equal_tokenizer_whatever_the_process_and_its_threads(
    corpus: Path, tokenizer: Path, tmp_path: Path
) -> None:
    program = (
        "import sys; from pathlib import Path; from ablab.corpora.tokenizer import *; "
        "from ablab.corpora.streams import read_texts; from ablab.spec import Tokenizer as T; "
        "save(train_bpe(T(vocab_size=300), read_texts(Path(sys.argv[1]))), Path(sys.argv[2]))"
    )
    for threads in ("1", "4"):
        out = tmp_path / f"threads-{threads}"
        out.mkdir()
        environment = os.environ | {"RAYON_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "true"}
        subprocess.run([sys.executable, "-c", program, corpus / "train.parquet", out], env=environment, check=True)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            assert (out / name).read_bytes() == (tokenizer / name).read_bytes()


def test_only_the_train_split_trains_the_tokenizer(corpus: Path, tokenizer: Path, run_stage: Any) -> None:
    for split in ("seed", "validation", "test"):
        with DocumentWriter(corpus / f"{split}.parquet") as writer:
            writer.write(Document("x", "one", "quite other words " * 50))
    again = run_stage("tokenizer", BPE, {"corpus": corpus})
    assert (again / "tokenizer.json").read_bytes() == (tokenizer / "tokenizer.json").read_bytes()


def test_a_vocabulary_that_the_text_does_not_support_is_refused_with_both_numbers(corpus: Path, run_stage: Any) -> None:
    with pytest.raises(RunError, match=r"vocab_size=20000 is more than the train split supports \(\d+ entries\)"):
        run_stage("tokenizer", BPE | {"vocab_size": 20_000}, {"corpus": corpus})


def test_streams_hold_every_document_between_bos_and_eos(corpus: Path, tokenizer: Path, tokens: Path) -> None:
    result = json.loads((tokens / "result.json").read_text())
    assert result["dtype"] == "uint16"
    for split in ("train", "validation", "test"):
        stream = open_stream(tokens, split)
        texts = [text for _, _, text in read_documents(corpus, split)]
        assert (stream == BOS).sum() == (stream == EOS).sum() == len(texts) == result["documents"][split]
        assert stream[0] == BOS and stream[-1] == EOS
        assert len(stream) == result["tokens"][split]
        assert result["bytes"][split] == sum(len(text.encode()) for text in texts)
        starts = np.flatnonzero(stream == BOS)
        last = stream[starts[-1] : len(stream)]
        assert load(tokenizer).decode(last.tolist()) == TRICKY.replace("\ufb01", "fi").replace("\u00a0", " ")


def test_a_special_token_spelled_out_in_text_is_text(tokenizer: Path) -> None:
    [ids] = encode_documents(load(tokenizer), ["<s> </s> <pad> <unk>"])
    assert [ids[0], ids[-1]] == [BOS, EOS]
    assert not {UNK, BOS, EOS, PAD} & set(ids[1:-1])


def test_vocabularies_of_more_than_65535_entries_need_32_bits(corpus: Path, tmp_path: Path, run_stage: Any) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    directory = tmp_path / "large"
    directory.mkdir()
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2, "<pad>": 3, "a": 69_999} | {f"w{i}": i for i in range(4, 69_999)}
    large = Tokenizer(models.BPE(vocabulary, merges=[], unk_token="<unk>"))
    large.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    large.save(str(directory / "tokenizer.json"))
    with DocumentWriter(corpus / "train.parquet") as writer:
        writer.write(Document("x", "one", "aba"))
    directory = run_stage("tokens", {"splits": ["train"]}, {"corpus": corpus, "tokenizer": directory})
    stream = open_stream(directory, "train")
    assert stream.dtype == np.uint32
    assert stream.tolist() == [1, 69_999, 0, 69_999, 2]


def test_a_split_that_is_not_there_is_refused(tokens: Path) -> None:
    with pytest.raises(RunError, match="no split 'seed'"):
        open_stream(tokens, "seed")


def test_a_stream_cannot_be_written_to(tokens: Path) -> None:
    with pytest.raises(ValueError, match="read-only"):
        open_stream(tokens, "train")[0] = 5


def test_the_stages_of_a_recipe_run_from_their_lowered_parameters(run_stage: Any) -> None:
    roles = lower(recipe([WORLD]), Replicate(train_seed=1, generation_seed=1)).roles
    corpus = run_stage("corpus", roles["corpus"].params)
    tokenizer = run_stage("tokenizer", roles["tokenizer"].params, {"corpus": corpus})
    tokens = run_stage("tokens", roles["tokens"].params, {"corpus": corpus, "tokenizer": tokenizer})
    fertility = json.loads((tokenizer / "result.json").read_text())["tokens_per_word"]
    result = json.loads((tokens / "result.json").read_text())
    words = json.loads((corpus / "result.json").read_text())["splits"]["validation"]["words"]
    assert result["tokens"]["validation"] == round(fertility * words) + 2 * result["documents"]["validation"]
