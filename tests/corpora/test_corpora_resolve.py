"""Resolving: digests of files, and every fault of the input in one error before anything is computed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from corpora_helper import WORLD, documents, faults, file_suites, first_source, recipe, source

from ablab.corpora.filecheck import FactCache
from ablab.corpora.resolve import Resolver, resolve_recipe
from ablab.errors import InputError
from ablab.spec import Replicate, edit, lower

PAIR = '{"sentence_good": "She sees herself.", "sentence_bad": "She sees himself."}\n'

FILES = {"train": documents(60), "validation": documents(10, 1), "test": documents(10, 2)}


def suite(path: Path | str, name: str = "pairs") -> dict[str, Any]:
    return {"kind": "babylm", "name": name, "group": "linguistic", "path": str(path), "items_per_task": None}


def pairs(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.jsonl").write_text(text)
    return folder


def test_resolving_gives_digests_and_absolute_paths(layout: Any, tmp_path: Path) -> None:
    layout({"one": FILES})
    pairs(tmp_path / "pairs", some=PAIR)
    resolved = resolve_recipe(recipe([source("one", "babylm")], [suite("pairs")]), tmp_path)
    made, [items] = first_source(resolved), file_suites(resolved)
    assert made.path == str(tmp_path / "babylm")
    assert made.digests == {split: hashlib.sha256(text.encode()).hexdigest() for split, text in FILES.items()}
    assert items.path == str(tmp_path / "pairs")
    assert items.digests == {"some.jsonl": hashlib.sha256(PAIR.encode()).hexdigest()}


def test_where_the_files_lie_does_not_change_a_key(layout: Any, tmp_path: Path) -> None:
    folder = layout({"one": FILES})
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder.rename(elsewhere / "babylm")
    layout({"one": FILES})
    keys = {
        lower(resolve_recipe(recipe([source("one", "babylm")]), data), Replicate(train_seed=1, generation_seed=1))
        .roles["corpus"]
        .key
        for data in (tmp_path, elsewhere)
    }
    assert len(keys) == 1


def test_resolving_a_resolved_recipe_changes_nothing(layout: Any, tmp_path: Path) -> None:
    layout({"one": FILES})
    once = resolve_recipe(recipe([source("one", "babylm")]), tmp_path)
    assert resolve_recipe(once, Path("/nowhere")) == once


def test_a_missing_folder_says_where_relative_paths_start(tmp_path: Path) -> None:
    [fault] = faults(recipe([source("one", "babylm")]), tmp_path)
    assert "path='babylm' is not a folder" in fault and f"ABLAB_DATA ({tmp_path})" in fault


def test_a_missing_file_is_named(layout: Any, tmp_path: Path) -> None:
    folder = layout({"one": {"train": FILES["train"], "test": FILES["test"]}})
    [fault] = faults(recipe([source("one", folder)]), tmp_path)
    assert str(folder / "dev" / "one.dev") in fault and "No such file" in fault


@pytest.mark.parametrize("content", ["", "\n \n\t\n"])
def test_a_file_without_words_is_named(layout: Any, tmp_path: Path, content: str) -> None:
    folder = layout({"one": FILES | {"train": content}})
    [fault] = faults(recipe([source("one", folder)]), tmp_path)
    assert fault.startswith(f"{folder / 'train' / 'one.train'}: the file holds no words")


def test_invalid_utf8_is_named_with_its_byte(layout: Any, tmp_path: Path) -> None:
    good = documents(60).encode()
    folder = layout({"one": FILES | {"train": good + b"caf\xe9 au lait\n"}})
    [fault] = faults(recipe([source("one", folder)]), tmp_path)
    assert fault.startswith(f"{folder / 'train' / 'one.train'}: invalid UTF-8 at byte offset {len(good) + 3}")


def test_more_words_than_the_file_holds_are_refused_with_both_numbers(layout: Any, tmp_path: Path) -> None:
    folder = layout({"one": FILES})
    held = len(FILES["train"].split())
    [fault] = faults(recipe([source("one", folder, words=held + 1)]), tmp_path)
    assert f"words={held + 1}" in fault and f"({held})" in fault
    assert resolve_recipe(recipe([source("one", folder, words=held)]), tmp_path).corpus.sources


def test_a_split_shorter_than_a_block_is_refused(layout: Any, tmp_path: Path) -> None:
    folder = layout({"one": FILES | {"validation": "only a few words here\n"}})
    [fault] = faults(recipe([source("one", folder)]), tmp_path)
    assert "the validation files give 5 words" in fault and "model.context=64" in fault


def test_an_exceeded_word_budget_is_refused_with_both_numbers(layout: Any, tmp_path: Path) -> None:
    folder = layout({"one": FILES})
    held = len(FILES["train"].split())
    [fault] = faults(recipe([source("one", folder)], edits={"corpus.word_budget": held - 1}), tmp_path)
    assert f"word_budget={held - 1}" in fault and f"{held} words" in fault
    assert resolve_recipe(recipe([source("one", folder)], edits={"corpus.word_budget": held}), tmp_path).corpus.sources


def test_one_content_under_two_names_is_refused(layout: Any, tmp_path: Path) -> None:
    folder = layout({"one": FILES | {"test": FILES["validation"]}, "two": FILES})
    found = faults(recipe([source("one", folder), source("two", folder)]), tmp_path)
    assert any("'one': two of its files are the same" in fault for fault in found)
    assert any("the train file of 'one' and the train file of 'two'" in fault for fault in found)


def test_a_file_other_than_the_declared_one_is_refused(layout: Any, tmp_path: Path) -> None:
    folder = layout({"one": FILES})
    declared = resolve_recipe(recipe([source("one", folder)]), tmp_path)
    (folder / "train" / "one.train").write_text(documents(61))
    [fault] = faults(declared, tmp_path)
    assert "one.train: its SHA-256 is" in fault


def test_an_unknown_microworld_suite_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    asked = {"kind": "microworld", "world_seed": 1, "items_per_task": 8, "names": ["minimal_pair"]}
    [fault] = faults(recipe([WORLD], [asked]), tmp_path)
    assert "'minimal_pair'; did you mean 'minimal_pairs'?" in fault


def test_more_items_than_a_microworld_has_are_refused(tmp_path: Path) -> None:
    asked = {"kind": "microworld", "world_seed": 1, "items_per_task": 10**5, "names": ["minimal_pairs"]}
    [fault] = faults(recipe([WORLD], [asked]), tmp_path)
    assert "ask for at most" in fault


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("not json", "not JSON"),
        ("[1, 2]", "a list, not an object"),
        ('{"sentence_good": "a"}', "sentence_bad must be a sentence, not None"),
        ('{"sentence_good": "a", "sentence_bad": 3}', "sentence_bad must be a sentence, not 3"),
        ('{"sentence_good": " ", "sentence_bad": "b"}', "sentence_good must be a sentence"),
        ('{"sentence_good": "\\ud800", "sentence_bad": "b"}', "sentence_good"),
    ],
)
def test_a_row_that_is_not_a_sentence_pair_is_named_by_file_and_line(tmp_path: Path, line: str, reason: str) -> None:
    folder = pairs(tmp_path / "pairs", some=f"{PAIR}\n{line}\n{PAIR}")
    [fault] = faults(recipe([WORLD], [suite(folder)]), tmp_path)
    assert f"{folder / 'some.jsonl'}:3: {reason}" in fault


def test_suites_without_files_without_rows_and_without_folder_are_refused(tmp_path: Path) -> None:
    suites = [suite(pairs(tmp_path / "a"), "a"), suite(pairs(tmp_path / "b", e="\n"), "b"), suite(tmp_path / "c", "c")]
    found = faults(recipe([WORLD], suites), tmp_path)
    assert [fault.split(":")[0] for fault in found] == ["suite 'a'", "suite 'b'", "suite 'c'"]
    assert "holds no *.jsonl" in found[0] and "holds no sentence pairs" in found[1] and "not a folder" in found[2]


def test_two_suites_with_one_name_are_refused(tmp_path: Path) -> None:
    folder = pairs(tmp_path / "pairs", some=PAIR)
    [fault] = faults(recipe([WORLD], [suite(folder), suite(folder)]), tmp_path)
    assert "'pairs' occurs twice" in fault


def test_all_faults_come_in_one_error(layout: Any, tmp_path: Path) -> None:
    folder = layout({"one": FILES | {"train": b"\xff", "test": ""}, "two": {"train": FILES["train"]}})
    sources = [source("one", folder), source("two", folder), source("three", "absent")]
    found = faults(recipe(sources, [suite("missing")]), tmp_path)
    assert len(found) == 6
    assert all(str(tmp_path) in fault for fault in found)


def test_remembered_facts_are_used_until_the_file_changes(layout: Any, tmp_path: Path) -> None:
    folder = layout({"one": FILES | {"train": documents(600)}})
    cache = tmp_path / "cache" / "files.json"
    declared = recipe([source("one", folder)], edits={"tokenizer.vocab_size": 260})  # so that no file is read for it
    first = resolve_recipe(declared, tmp_path, cache)
    stored = json.loads(cache.read_text())
    assert len(stored["files"]) == 3
    # a fact that no reading could have given shows that the file is not read again
    name = next(key for key in stored["files"] if key.endswith("one.train"))
    stored["files"][name]["facts"]["digest"] = "0" * 64
    cache.write_text(json.dumps(stored))
    assert first_source(resolve_recipe(declared, tmp_path, cache)).digests["train"] == "0" * 64
    path = folder / "train" / "one.train"
    path.write_text(documents(601))
    changed = first_source(resolve_recipe(declared, tmp_path, cache)).digests["train"]
    assert changed == hashlib.sha256(path.read_bytes()).hexdigest() != first_source(first).digests["train"]
    assert list(cache.parent.iterdir()) == [cache]


def test_faults_are_remembered_too(layout: Any, tmp_path: Path) -> None:
    declared = recipe([source("one", layout({"one": FILES | {"train": b"ab\xff"}}))])
    cache = tmp_path / "files.json"
    assert faults(declared, tmp_path, cache) == faults(declared, tmp_path, cache)
    assert "byte offset 2" in cache.read_text()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 0, "files": {}}'])
def test_a_cache_that_cannot_be_used_is_made_again(layout: Any, tmp_path: Path, content: str) -> None:
    declared = recipe([source("one", layout({"one": FILES}))])
    cache = tmp_path / "files.json"
    cache.write_text(content)
    assert resolve_recipe(declared, tmp_path, cache) == resolve_recipe(declared, tmp_path)
    names = json.loads(cache.read_text())["files"]
    assert sorted(name.split(":")[0] for name in names) == ["text", "text", "text", "vocabulary"]


def test_planning_imports_no_heavy_library() -> None:
    program = (
        "import sys, ablab.corpora.resolve; "
        "print(sorted({'torch', 'transformers', 'datasets', 'pyarrow', 'tokenizers', 'mlflow'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, env=os.environ)
    assert answer.stdout.strip() == "[]"


@pytest.mark.data
def test_real_text_and_suites_resolve(shared_data: Path, tmp_path: Path) -> None:
    names = ("childes", "gutenberg", "simple_wiki")
    declared = recipe(
        [source(name, "corpora/babylm") for name in names],
        [suite("evaluation_data/fast_eval/blimp_fast", "blimp"), suite("evaluation_data/fast_eval/supplement_fast")],
    )
    resolved = resolve_recipe(declared, shared_data, tmp_path / "files.json")
    assert [len(items.digests) for items in file_suites(resolved)] == [67, 5]
    assert resolve_recipe(declared, shared_data, tmp_path / "files.json") == resolved


def test_a_text_that_is_one_document_cannot_give_prompts_too(layout: Any, tmp_path: Path) -> None:
    folder = layout({"one": {**FILES, "train": "word " * 400 + "\n"}})
    [fault] = faults(recipe([source("one", folder)]), tmp_path)
    assert "its train text of 400 words is 1 document(s), but 2 are needed" in fault


def test_a_microworld_of_one_story_cannot_give_prompts_too(tmp_path: Path) -> None:
    small = {**WORLD, "words": 70}
    assert any("but 2 are needed" in fault for fault in faults(recipe([small]), tmp_path))


def test_the_words_of_a_corpus_and_its_budget_are_one_line(layout: Any, tmp_path: Path) -> None:
    folder = layout({"one": FILES})
    both = recipe([source("one", folder, words=1_000), WORLD], edits={"corpus.word_budget": 20_000})
    resolver = Resolver(tmp_path, FactCache(None))
    assert resolver.corpus_line(both) == "train words: one 1,000 + world 15,000 = 16,000, of a budget of 20,000"
    assert resolver.corpus_line(recipe([WORLD])) == "train words: world 15,000, no word budget"


def test_equal_corpora_and_suites_of_several_recipes_are_resolved_once(layout: Any, tmp_path: Path) -> None:
    """A second recipe says what the first one found, also where the files are gone meanwhile."""
    folder = layout({"one": FILES})
    first = recipe([source("one", folder, words=1_000)])
    resolver = Resolver(tmp_path, FactCache(None))
    resolved = resolver.resolve(first)
    shutil.rmtree(folder)
    assert resolver.resolve(edit(first, {"schedule.steps": 40})).corpus == resolved.corpus
    assert resolver.corpus_line(first) == "train words: one 1,000, no word budget"
    with pytest.raises(InputError, match="is not a folder"):
        resolver.resolve(recipe([source("one", folder, words=999)]))


def test_a_share_of_a_babylm_source_becomes_words_and_a_share_that_it_cannot_fill_is_said(
    layout: Any, tmp_path: Path
) -> None:
    folder = layout({"one": FILES | {"train": documents(600)}})
    shared = recipe([source("one", folder) | {"share": 0.5}], edits={"corpus.words": 20_001})
    resolved = resolve_recipe(shared, tmp_path)
    assert first_source(resolved).words == 10_001 and resolved.corpus.words is None
    stated = resolve_recipe(recipe([source("one", folder, words=10_001)]), tmp_path)
    replicate = Replicate(train_seed=1, generation_seed=1)
    assert lower(resolved, replicate).roles["corpus"].key == lower(stated, replicate).roles["corpus"].key
    [fault] = faults(recipe([source("one", folder) | {"share": 0.5}], edits={"corpus.words": 40_000}), tmp_path)
    assert "share=0.5 of corpus.words=40000 is 20000 words, more than its train text holds (15600)" in fault


def test_how_far_a_text_is_read_is_told_once(layout: Any, tmp_path: Path) -> None:
    told: list[tuple[str, int, int | None, str]] = []
    folder = layout({"one": FILES | {"train": documents(600)}})
    facts = FactCache(None, lambda *heard: told.append(heard))
    Resolver(tmp_path, facts).resolve(recipe([source("one", folder)]))
    size = (folder / "train" / "one.train").stat().st_size
    steps = [done for what, done, total, _ in told if what.endswith("one.train") and total == size]
    assert steps == sorted(steps)
    assert len(steps) == 4  # the first, the 257th and the 513th document, and the end
    assert steps[-1] == size > steps[-2]
    told.clear()
    Resolver(tmp_path, facts).resolve(recipe([source("one", folder)]))
    assert told == []
