"""Laws of the stage `requests`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from babylm_helper import PASSWORD, SECRET, ewok_rows, suite, write_layout
from corpora_helper import WORLD, recipe
from tokenizers import Tokenizer

from ablab.corpora import tokenizer as bpe
from ablab.corpora.requests import Speller, long_items, read_requests, requests_of
from ablab.corpora.resolve import resolve_recipe
from ablab.errors import RunError
from ablab.spec import Replicate, lower
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
    """A tokenizer and a suite directory: options and read words."""
    (tmp_path / "tokenizer").mkdir()
    bpe.save(bpe.train_bpe(TokenizerSpec(vocab_size=280), iter([TEXTS])), tmp_path / "tokenizer")
    listed: dict[str, Any] = {}
    for name, task, rows in (("some", "pairs", ROWS), ("words", "read", WORDS)):
        folder = tmp_path / "suite" / name
        folder.mkdir(parents=True)
        (folder / f"{task}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        listed[name] = {"tasks": {task: len(rows)}}
    (tmp_path / "suite" / "result.json").write_text(json.dumps({"suites": listed}))
    return {"suite": tmp_path / "suite", "tokenizer": tmp_path / "tokenizer"}


def tokenizer_of(inputs: dict[str, Path]) -> Tokenizer:
    return bpe.load(inputs["tokenizer"])


def test_what_is_read_back_is_what_would_be_spelled_anew(inputs: dict[str, Path], run_stage: Any) -> None:
    made = run_stage("requests", {"context": 100}, inputs)
    speller = Speller(tokenizer_of(inputs))
    for name, rows in (("some", ROWS), ("words", WORDS)):
        requests = [request for row in rows for request in requests_of(row)]
        anew = dict(zip((request.place for request in requests), speller.spell(requests), strict=True))
        assert read_requests(made / f"{name}.parquet", speller.ids) == anew
    assert len(anew["words/read/0", 0]) > 1, "a word of several tokens is asked for token by token"


def test_of_an_encrypted_suite_lengths_alone_are_written(
    inputs: dict[str, Path], run_stage: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ABLAB_EWOK_PASSWORD", PASSWORD)
    resolved = resolve_recipe(recipe([WORLD], [suite("ewok")]), write_layout(tmp_path / "data"))
    roles = lower(resolved, Replicate(train_seed=1, generation_seed=1)).roles
    locations = roles["requests"].locations
    sealed = inputs | {"suite": run_stage("suite", roles["suite"].params, {}, roles["suite"].locations)}
    made = run_stage("requests", {"context": 200}, sealed, locations)
    domains = {"social-relations": 3, "agent-properties": 2, "material-dynamics": 1}
    held_rows = [row for domain, count in domains.items() for row in ewok_rows(domain, count)]
    texts = [row["Context1"] + " " + row[f"Target{n}"] for row in held_rows for n in (1, 2)]
    longest = max(len(tokenizer_of(inputs).encode(text)) for text in texts)
    held = json.loads((made / "result.json").read_text())["suites"]
    assert held == {"ewok": {"requests": 24, "queries": 24, "longest_tokens": longest}}
    assert [path.name for path in made.iterdir()] == ["result.json"]
    with pytest.raises(RunError, match=rf"item ewok/[a-z-]+/\d, option \d has {longest} tokens") as caught:
        run_stage("requests", {"context": longest - 1}, sealed, locations)
    (before,) = long_items(sealed["suite"], inputs["tokenizer"], longest - 1, locations)
    assert before.startswith("item ewok/")
    assert SECRET not in f"{caught.value}{before}"


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
