"""Sources of one's own files: patterns, digests, shares, held-out documents, and everything that can be wrong."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpora_helper import REPLICATE, WORLD, build_corpus, documents, faults, held, recipe, source, texts

from ablab.corpora.fingerprints import fingerprint
from ablab.corpora.resolve import resolve_recipe
from ablab.corpora.splits import SPLITS
from ablab.errors import InputError, RunError
from ablab.spec import FileSource, Recipe, edit, lower


def files(name: str = "mine", **changes: Any) -> dict[str, Any]:
    stated = {"kind": "files", "name": name, "train": ["books/*"], "words": None, "evaluation_words": None}
    return stated | {"held_out_share": 0.2} | changes


def write(folder: Path, name: str, rows: list[str]) -> Path:
    """A file of documents in the format that its name says."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(".parquet"):
        pq.write_table(pa.table({"text": rows}), path)
    elif ".jsonl" in name:
        data = "".join(json.dumps({"text": row}) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    else:
        path.write_text("\n\n".join(rows) + "\n")
    return path


def resolved_source(resolved: Recipe) -> FileSource:
    found = resolved.corpus.sources[0]
    assert isinstance(found, FileSource)
    return found


def test_patterns_become_sorted_paths_with_digests_and_formats(tmp_path: Path) -> None:
    paths = [write(tmp_path, f"books/{name}", texts(20, i)) for i, name in enumerate(("b.txt", "c.jsonl", "a.parquet"))]
    stated = files(train=["books/*.txt", "books/[ac].*", str(tmp_path / "books" / "b.txt")])
    found = resolved_source(resolve_recipe(recipe([stated]), tmp_path))
    assert found.train == tuple(sorted(map(str, paths)))
    assert found.digests == {"train": tuple(hashlib.sha256(Path(p).read_bytes()).hexdigest() for p in found.train)}
    assert found.formats == {"train": ("parquet", "text", "jsonl")}


def test_the_corpus_holds_the_documents_of_all_files_whatever_their_format(run_stage: Any, tmp_path: Path) -> None:
    names = ("a.txt", "b.jsonl.gz", "c.parquet")
    for i, name in enumerate(names):
        write(tmp_path, f"books/{name}", texts(40, i))
    directory = build_corpus(run_stage, resolve_recipe(recipe([files()]), tmp_path))
    found = {split: held(directory, split) for split in SPLITS}
    assert sorted(text for of in found.values() for text in of) == sorted(t for i in range(3) for t in texts(40, i))
    order = [text for i in range(3) for text in texts(40, i)]
    assert found["train"] == [text for text in order if text in set(found["train"])]
    assert all(12 < len(found[split]) < 36 for split in ("validation", "test"))


def test_a_document_stays_in_its_split_whatever_else_the_source_holds(run_stage: Any, tmp_path: Path) -> None:
    seen: dict[bytes, str] = {}
    for rows in (texts(100), texts(100, 5) + texts(100)[::-1]):
        write(tmp_path, "books/a.jsonl", rows)
        directory = build_corpus(run_stage, resolve_recipe(recipe([files()]), tmp_path))
        for split in ("validation", "test"):
            for text in held(directory, split):
                assert seen.setdefault(fingerprint(text), split) == split
        for text in held(directory, "train") + held(directory, "seed"):
            assert fingerprint(text) not in seen
    assert len(seen) > 40


def test_files_of_its_own_take_the_place_of_held_out_documents(run_stage: Any, tmp_path: Path) -> None:
    write(tmp_path, "books/a.txt", texts(100))
    write(tmp_path, "test.jsonl", texts(12, 1))
    directory = build_corpus(run_stage, resolve_recipe(recipe([files(test=["test.jsonl"])]), tmp_path))
    assert sorted(held(directory, "test")) == sorted(texts(12, 1))
    assert set(held(directory, "validation")) < set(texts(100))


def test_a_share_becomes_words_and_leaves_the_key_of_the_words(run_stage: Any, tmp_path: Path) -> None:
    write(tmp_path, "books/a.txt", texts(200))
    shared = resolve_recipe(
        recipe([files(share=0.25), WORLD], edits={"corpus.words": 8_000, "corpus.word_budget": 20_000}), tmp_path
    )
    stated = resolve_recipe(recipe([files(words=2_000), WORLD]), tmp_path)
    assert resolved_source(shared).words == 2_000 and resolved_source(shared).share is None
    assert shared.corpus.words is None
    assert lower(shared, REPLICATE).roles["corpus"].key == lower(stated, REPLICATE).roles["corpus"].key
    result = json.loads((build_corpus(run_stage, shared) / "result.json").read_text())
    words = result["sources"]["mine"]["train"]["words"] + result["sources"]["mine"]["seed"]["words"]
    assert 2_000 - 26 < words <= 2_000


def test_where_files_lie_and_what_cannot_matter_never_change_a_key(tmp_path: Path) -> None:
    write(tmp_path / "here", "books/a.txt", texts(60))
    for split, seed in (("validation", 1), ("test", 2)):
        write(tmp_path / "here", f"{split}.txt", texts(12, seed))
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    own: dict[str, Any] = {"validation": ["validation.txt"], "test": ["test.txt"]}
    keys = {
        lower(resolve_recipe(recipe([stated]), tmp_path / folder), REPLICATE).roles["corpus"].key
        for folder in ("here", "there")
        for stated in (files(**own), files(**own, held_out_share=None), files(**own, text_field="story"))
    }
    assert len(keys) == 1


def test_the_same_bytes_under_the_name_of_another_format_are_another_corpus(tmp_path: Path) -> None:
    write(tmp_path, "books/a.jsonl", texts(60))
    rows = resolve_recipe(recipe([files()]), tmp_path)
    (tmp_path / "books" / "a.jsonl").rename(tmp_path / "books" / "a.txt")
    text = resolve_recipe(recipe([files()]), tmp_path)
    assert resolved_source(rows).digests == resolved_source(text).digests
    assert lower(rows, REPLICATE).roles["corpus"].key != lower(text, REPLICATE).roles["corpus"].key


def test_resolving_a_resolved_recipe_changes_nothing_and_notices_other_files(tmp_path: Path) -> None:
    write(tmp_path, "books/a.txt", texts(60))
    write(tmp_path, "books/[b].txt", texts(60, 1))
    once = resolve_recipe(recipe([files()]), tmp_path)
    assert resolve_recipe(once, Path("/nowhere")) == once
    write(tmp_path, "books/a.txt", texts(61))
    [fault] = faults(once, tmp_path)
    assert "a.txt: its SHA-256 is" in fault
    again = edit(recipe([files()]), {"corpus.sources": [files() | {"digests": {"train": ["0" * 64]}}]})
    [fault] = faults(again, tmp_path)
    assert "the recipe declares digests of other files (train 1)" in fault


def test_paths_that_lead_to_nothing_are_all_named(tmp_path: Path) -> None:
    write(tmp_path, "books/a.txt", texts(60))
    (tmp_path / "folder").mkdir()
    found = faults(
        recipe([files(train=["folder", "none/*.txt", "none.txt", "books/a.txt"], test=["/none.txt"])]), tmp_path
    )
    assert [fault.partition(" (")[0] for fault in found] == [
        "corpus source 'mine': train='folder' is a folder; name its files, for example folder/*.txt",
        "corpus source 'mine': train='none/*.txt' matches no file",
        "corpus source 'mine': train='none.txt' is not a file",
        "corpus source 'mine': test='/none.txt' is not a file",
    ]
    assert f"ABLAB_DATA ({tmp_path})" in found[1] and "ABLAB_DATA" not in found[3]


def test_every_unusable_file_is_named_with_the_place_of_its_fault(tmp_path: Path) -> None:
    write(tmp_path, "books/a.txt", texts(60))
    (tmp_path / "books" / "b.txt").write_bytes(b"caf\xe9")
    (tmp_path / "books" / "c.jsonl").write_text('{"text": "good"}\n{"txt": "bad"}\n')
    (tmp_path / "books" / "d.csv").write_text("text\nrow\n")
    (tmp_path / "books" / "e.txt.gz").write_bytes(gzip.compress(documents(50).encode())[:-9])
    (tmp_path / "books" / "f.jsonl").write_text('{"text": " "}\n\n')
    found = faults(recipe([files()]), tmp_path)
    names = [Path(fault.split(":")[0]).name for fault in found]
    assert names == ["b.txt", "c.jsonl", "d.csv", "e.txt.gz", "f.jsonl"]
    assert "line 2 has no field 'text'" in found[1] and "holds no words" in found[4]


def test_fewer_words_than_the_share_or_the_words_are_said_with_the_numbers(tmp_path: Path) -> None:
    write(tmp_path, "books/a.jsonl.gz", texts(100))
    [fault] = faults(recipe([files(words=10**6)]), tmp_path)
    assert "words=1000000 is more than its train text holds (" in fault
    [fault] = faults(recipe([files(share=0.5), WORLD], edits={"corpus.words": 40_000}), tmp_path)
    assert "share=0.5 of corpus.words=40000 is 20000 words, more than its train text holds (" in fault
    [fault] = faults(recipe([files(evaluation_words=10**6)]), tmp_path)[:1]
    assert "evaluation_words=1000000 is more than its validation text holds (" in fault
    [fault] = faults(recipe([files(share=0.00001), WORLD], edits={"corpus.words": 100}), tmp_path)
    assert "share=1e-05 of corpus.words=100 is no word" in fault


def test_a_share_that_holds_nothing_out_is_said(tmp_path: Path) -> None:
    write(tmp_path, "books/a.txt", texts(20))
    found = faults(recipe([files(held_out_share=1e-9)]), tmp_path)
    assert [fault for fault in found if "its validation text holds no words" in fault and "held_out_share" in fault]


def test_the_same_documents_in_another_format_are_found(tmp_path: Path) -> None:
    rows = [" ".join(f"{row}" for _ in range(8)) for row in texts(400)]  # long enough to be documents of plain text
    write(tmp_path, "books/a.txt", rows)
    write(tmp_path, "rows/a.parquet", rows[150:])
    write(tmp_path, "rows/b.jsonl", texts(50, 3))
    write(tmp_path, "rows/c.jsonl", texts(300, 4))
    pair = [files(), files("other", train=["rows/a.parquet", "rows/b.jsonl"])]
    [fault] = faults(recipe(pair), tmp_path)
    assert "'mine' and the train text of 'other' have the same documents (about 8" in fault  # 250 of 300
    write(tmp_path, "rows/a.parquet", rows[250:])
    pair = [files(), files("other", train=["rows/a.parquet", "rows/c.jsonl"])]  # 150 of 400
    assert resolve_recipe(recipe(pair), tmp_path).corpus.sources


def test_a_text_that_another_source_holds_out_is_found_beside_other_faults(tmp_path: Path) -> None:
    write(tmp_path, "books/a.txt", texts(60))
    write(tmp_path, "rows/b.jsonl", texts(300, 3))
    write(tmp_path, "rows/held.jsonl", texts(60))
    write(tmp_path, "rows/test.jsonl", texts(60, 5))
    other = files("other", train=["rows/b.jsonl"], validation=["rows/held.jsonl"], test=["rows/test.jsonl"])
    mine = files(train=["books/a.txt"], words=10_000_000)
    found = faults(recipe([mine, other | {"held_out_share": None}]), tmp_path)
    assert any("words=10000000 is more than" in fault for fault in found), found
    assert any("the validation text of 'other' have the same documents" in fault for fault in found), found


def test_a_file_that_two_sources_name_is_found_by_its_content(tmp_path: Path) -> None:
    write(tmp_path, "books/a.txt", texts(60))
    write(tmp_path, "test.txt", texts(60))
    found = faults(recipe([files(test=["test.txt"]), files("other")]), tmp_path)
    assert any("'mine': two of its files are the same" in fault for fault in found)
    assert any("a.txt of 'other' have the same content" in fault for fault in found)


def test_a_file_that_changes_after_resolving_stops_the_stage(run_stage: Any, tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.parquet"):
        write(tmp_path, f"books/{name}", texts(60, len(name)))
    resolved = resolve_recipe(recipe([files(words=500)]), tmp_path)
    write(tmp_path, "books/b.parquet", texts(61, 9))  # of which nothing is needed for 500 words
    with pytest.raises(RunError, match=r"b\.parquet changed since the run began"):
        build_corpus(run_stage, resolved)
    write(tmp_path, "books/a.jsonl", ["short"]).write_text("{")
    with pytest.raises(RunError, match=r"a\.jsonl: line 1 is not JSON"):
        build_corpus(run_stage, resolved)


def test_counts_are_remembered_until_a_file_or_the_cut_changes(tmp_path: Path) -> None:
    write(tmp_path, "books/a.jsonl.gz", texts(1_200))
    cache = tmp_path / "cache.json"
    stated = recipe([files()], edits={"tokenizer.vocab_size": 260})
    first = resolve_recipe(stated, tmp_path, cache)
    stored = json.loads(cache.read_text())
    [entry] = [one for name, one in stored["files"].items() if name.startswith("text:")]
    entry["facts"]["parts"]["train"]["words"] = 123  # what no reading could have given shows that none is made
    cache.write_text(json.dumps(stored))
    with pytest.raises(InputError, match=r"words=500 is more than its train text holds \(123\)"):
        resolve_recipe(edit(stated, {"corpus.sources": [files(words=500)]}), tmp_path, cache)
    assert resolve_recipe(edit(stated, {"corpus.split_seed": 99}), tmp_path, cache) != first


def test_a_vocabulary_that_a_small_corpus_does_not_support_is_said_before_anything_is_computed(
    run_stage: Any, tmp_path: Path
) -> None:
    write(tmp_path, "books/a.txt", texts(120))
    cache = tmp_path / "cache.json"
    declared = recipe([files()], edits={"tokenizer.vocab_size": 20_000})
    [fault] = faults(declared, tmp_path, cache)
    assert "tokenizer.vocab_size=20000 is more than the corpus supports (" in fault
    assert faults(declared, tmp_path, cache) == (fault,)
    largest = int(fault.partition("supports (")[2].split()[0])
    resolved = resolve_recipe(edit(declared, {"tokenizer.vocab_size": largest}), tmp_path, cache)
    roles = lower(resolved, REPLICATE).roles
    corpus = build_corpus(run_stage, resolved)
    made = run_stage("tokenizer", roles["tokenizer"].params, {"corpus": corpus})
    assert json.loads((made / "result.json").read_text())["vocab_size"] == largest
    with pytest.raises(RunError, match=rf"supports \({largest} entries\)"):
        run_stage("tokenizer", {**roles["tokenizer"].params, "vocab_size": largest + 1}, {"corpus": corpus})


def test_a_microworld_that_does_not_support_the_vocabulary_is_said(tmp_path: Path) -> None:
    [fault] = faults(recipe([WORLD], edits={"tokenizer.vocab_size": 16_000}), tmp_path)
    assert "tokenizer.vocab_size=16000 is more than the corpus supports" in fault


def test_a_source_of_files_and_one_of_the_babylm_layout_make_one_corpus(
    layout: Any, run_stage: Any, tmp_path: Path
) -> None:
    write(tmp_path, "books/a.txt", texts(60))
    folder = layout({"one": {"train": documents(60, 7), "validation": documents(12, 8), "test": documents(12, 9)}})
    resolved = resolve_recipe(recipe([files(), source("one", folder)]), tmp_path)
    result = json.loads((build_corpus(run_stage, resolved) / "result.json").read_text())
    assert result["sources"].keys() == {"mine", "one"}
    assert result["sources"]["one"]["test"]["documents"] == 12
