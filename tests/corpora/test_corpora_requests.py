"""Laws of the stage `requests`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from ablab.corpora import tokenizer as bpe
from ablab.corpora.requests import Speller, read_requests, requests_of
from ablab.errors import RunError
from ablab.spec.recipe import Tokenizer as TokenizerSpec

TEXTS = ["The key is in the box.", "The café is in the park.", "Anna puts the key in the box."] * 20
ROWS = [
    {"id": "some/pairs/0", "context": "", "options": ["The key is in the box.", "The key are in the box."]},
    {"id": "some/pairs/7", "context": "Anna puts the key in", "options": [" the box.", " the café.", " the box."]},
]
WORDS = [
    {"id": "words/read/0", "context": "The key is", "options": ["incafé"], "predictors": {}, "times": {}},
    {
        "id": "words/read/1",
        "context": "The key",
        "options": [" is"],
        "predictors": {},
        "times": {},
        "previous": {"context": "The", "option": "key"},
    },
]


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    """A tokenizer and a suite directory: options, read words, and an encrypted suite that has ids alone."""
    (tmp_path / "tokenizer").mkdir()
    bpe.save(bpe.train_bpe(TokenizerSpec(vocab_size=280), iter([TEXTS])), tmp_path / "tokenizer")
    listed: dict[str, Any] = {}
    for suite, task, rows in (
        ("some", "pairs", ROWS),
        ("words", "read", WORDS),
        ("sealed", "a", [{"id": "sealed/a/0"}]),
    ):
        folder = tmp_path / "suite" / suite
        folder.mkdir(parents=True)
        (folder / f"{task}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        listed[suite] = {"tasks": {task: len(rows)}} | ({"encrypted": "0" * 64} if suite == "sealed" else {})
    (tmp_path / "suite" / "result.json").write_text(json.dumps({"suites": listed}))
    return {"suite": tmp_path / "suite", "tokenizer": tmp_path / "tokenizer"}


def tokenizer_of(inputs: dict[str, Path]) -> Tokenizer:
    return bpe.load(inputs["tokenizer"])


def test_what_is_read_back_is_what_would_be_spelled_anew(inputs: dict[str, Path], run_stage: Any) -> None:
    made = run_stage("requests", {"context": 100}, inputs)
    speller = Speller(tokenizer_of(inputs))
    for suite, rows in (("some", ROWS), ("words", WORDS)):
        requests = [request for row in rows for request in requests_of(row)]
        anew = dict(zip((request.place for request in requests), speller.spell(requests), strict=True))
        assert read_requests(made / f"{suite}.parquet", speller.ids) == anew
    assert len(anew["words/read/0", 0]) > 1, "a word of several tokens is asked for token by token"


def test_nothing_of_an_encrypted_suite_is_written(inputs: dict[str, Path], run_stage: Any) -> None:
    made = run_stage("requests", {"context": 100}, inputs)
    assert sorted(path.name for path in made.glob("*.parquet")) == ["some.parquet", "words.parquet"]
    assert list(json.loads((made / "result.json").read_text())["suites"]) == ["some", "words"]


def test_a_text_longer_than_the_context_is_named_before_any_model_is_trained(
    inputs: dict[str, Path], run_stage: Any
) -> None:
    made = json.loads((run_stage("requests", {"context": 100}, inputs) / "result.json").read_text())["suites"]
    longest = made["some"]["longest_tokens"]
    assert longest == max(len(tokenizer_of(inputs).encode(r["context"] + o)) for r in ROWS for o in r["options"])
    with pytest.raises(RunError, match=rf"item some/pairs/\d, option \d has {longest} tokens, but the model's context"):
        run_stage("requests", {"context": longest - 1}, inputs)
    assert run_stage("requests", {"context": longest}, inputs).is_dir()


def test_a_completion_without_a_token_is_an_error(inputs: dict[str, Path]) -> None:
    row = {"id": "some/pairs/3", "context": "The", "options": ["", " key"]}
    with pytest.raises(RunError, match="item some/pairs/3, option 0: the tokenizer leaves no token of it"):
        Speller(tokenizer_of(inputs)).spell(requests_of(row))
