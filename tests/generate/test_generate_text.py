"""Prompts, and the way from ids to documents."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer, models

from ablab.errors import RunError
from ablab.generate.duplicates import NoDuplicates
from ablab.generate.prompts import chunked, read_prompts
from ablab.generate.text import DocumentWriter, Vocabulary
from ablab.spec.synthetic import Prompts


def write_seed(folder: Path, texts: list[str]) -> Path:
    columns = {"id": [str(i) for i in range(len(texts))], "source": ["x"] * len(texts), "text": texts}
    pq.write_table(pa.table(columns), folder / "seed.parquet")
    return folder


def declared(tokens: int, chunk_words: int) -> Prompts:
    return Prompts(tokens=tokens, chunk_words=chunk_words, new_tokens=1)


def test_chunks_hold_the_words_in_order_and_their_white_space() -> None:
    text = "  One two\n\nthree four  five "
    assert list(chunked(text, 2)) == ["One two", "three four", "five"]
    assert list(chunked(text, 3)) == ["One two\n\nthree", "four  five"]
    assert list(chunked(" \n", 3)) == []


def test_prompts_are_the_first_tokens_of_every_chunk_that_is_long_enough(
    vocabulary: Vocabulary, tmp_path: Path
) -> None:
    prompts = read_prompts(write_seed(tmp_path, ["abcd ef gh", "ij", "klmno"]), vocabulary, declared(5, 2))
    decoded = [vocabulary.tokenizer.decode(row.tolist()) for row in prompts]
    assert decoded == ["abcd", "klmn"]  # "gh" and "ij" have 3 tokens with <s>
    assert (prompts[:, 0] == vocabulary.begin).all()
    assert prompts.dtype == np.int64


@pytest.mark.parametrize("texts", [[], [" "], ["short"]])
def test_no_prompt_at_all_is_an_error_that_says_what_to_change(
    texts: list[str], vocabulary: Vocabulary, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match=r"seed split gives no prompt[\s\S]*lower synthetic\.prompts\.tokens"):
        read_prompts(write_seed(tmp_path, texts), vocabulary, declared(9, 2))


def test_a_tokenizer_that_does_not_begin_with_bos_is_refused(vocabulary: Vocabulary, tmp_path: Path) -> None:
    plain = Tokenizer.from_str(vocabulary.tokenizer.to_str())
    plain.post_processor = None
    with pytest.raises(RunError, match="does not put <s> in front"):
        read_prompts(write_seed(tmp_path, ["abcdef"]), Vocabulary(plain), declared(3, 2))


def test_missing_specials_are_named() -> None:
    with pytest.raises(RunError, match="lacks </s>, <pad>"):
        Vocabulary(Tokenizer(models.BPE({"<unk>": 0, "<s>": 1}, [])))


def test_sequences_are_split_at_bos_and_eos_and_specials_are_left_out(vocabulary: Vocabulary) -> None:
    def ids(text: str) -> list[int]:
        return list(vocabulary.tokenizer.encode(text, add_special_tokens=False).ids)

    begin, end, pad = vocabulary.begin, vocabulary.end, vocabulary.pad
    rows = [
        [begin, *ids("one two"), end, begin, *ids(" three")],
        [*ids("x"), end, end, *ids("   "), begin, *ids("yé"), begin, begin, end],
        [begin, *ids("z"), end, *[pad] * 11],
        [pad] * 14,
    ]
    rows = [row + [pad] * (16 - len(row)) for row in rows]
    assert vocabulary.documents(np.array(rows)) == [["one two", " three"], ["x", "yé"], ["z"], []]


def test_barred_ids_are_pad_unk_and_those_without_a_word(vocabulary: Vocabulary) -> None:
    assert vocabulary.barred(263) == [0, 3, 260, 261, 262]


def test_documents_are_written_with_ids_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ablab.generate.text.ROW_GROUP", 2)
    with DocumentWriter(tmp_path / "train.parquet", NoDuplicates()) as writer:
        writer.add(7, ["a b", "c"])
        writer.add(8, [])
        writer.add(9, ["d e f"])
    assert (writer.documents, writer.words) == (3, 6)
    table = pq.read_table(tmp_path / "train.parquet")
    assert table.to_pydict() == {
        "id": ["7/0", "7/1", "9/0"],
        "source": ["synthetic"] * 3,
        "text": ["a b", "c", "d e f"],
    }
    with DocumentWriter(tmp_path / "none.parquet", NoDuplicates()) as writer:
        writer.add(0, [])
    assert pq.read_table(tmp_path / "none.parquet").schema.names == ["id", "source", "text"]
