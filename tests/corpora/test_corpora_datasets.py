"""Datasets: of the Hub as they were fetched, and saved on disk by `datasets`; nothing is read that is not verified."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpora_helper import REPLICATE, build_corpus, faults, held, recipe, texts

from ablab.corpora.hub import ContentDigest, hub_folder
from ablab.corpora.resolve import resolve_recipe
from ablab.corpora.saved import dataset_texts
from ablab.corpora.splits import SPLITS
from ablab.errors import RunError
from ablab.spec import HubSource, Recipe, lower

COMMIT = "0123456789abcdef0123456789abcdef01234567"


ROWS = {"train": texts(80), "validation": texts(12, 1), "test": texts(12, 2)}


def hub(**changes: Any) -> dict[str, Any]:
    stated = {"kind": "hub", "name": "stories", "repo": "someone/stories", "revision": COMMIT}
    return stated | {"words": None, "evaluation_words": None} | changes


def saved(folder: Path, **changes: Any) -> dict[str, Any]:
    return hub(repo=str(folder), revision=None) | changes


def content(rows: list[str]) -> str:
    made = ContentDigest()
    for row in rows:
        made.add(row)
    return made.hexdigest()


def fetched(data: Path, splits: dict[str, list[str]], source: dict[str, Any] | None = None) -> Path:
    """A dataset of the Hub in the layout that `ablab data fetch` leaves."""
    folder = hub_folder(data, HubSource.model_validate(source or hub()))
    folder.mkdir(parents=True)
    described = {}
    for split, rows in splits.items():
        pq.write_table(pa.table({"text": rows}), folder / f"{split}.parquet", row_group_size=7)
        described[split] = {"digest": content(rows), "documents": len(rows), "words": 1}
    about = {"repo": "someone/stories", "revision": COMMIT, "config": None, "splits": described}
    (folder / "dataset.json").write_text(json.dumps(about))
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with two columns, saved by `datasets` in several files."""
    from datasets import Dataset, DatasetDict

    folder = tmp_path_factory.mktemp("saved") / "stories"
    splits = {name: Dataset.from_dict({"text": rows, "length": [len(r) for r in rows]}) for name, rows in ROWS.items()}
    DatasetDict(splits).save_to_disk(str(folder), num_shards={"train": 3, "validation": 1, "test": 1})
    return folder


def resolved_source(resolved: Recipe) -> HubSource:
    found = resolved.corpus.sources[0]
    assert isinstance(found, HubSource)
    return found


def test_a_fetched_dataset_becomes_digests_of_its_content(run_stage: Any, tmp_path: Path) -> None:
    folder = fetched(tmp_path, {**ROWS, "train": [*ROWS["train"], " \n"]})
    resolved = resolve_recipe(recipe([hub()]), tmp_path)
    found = resolved_source(resolved)
    assert found.digests == {
        **{s: content(rows) for s, rows in ROWS.items()},
        "train": content([*ROWS["train"], " \n"]),
    }
    assert found.paths == {split: str(folder / f"{split}.parquet") for split in ROWS}
    directory = build_corpus(run_stage, resolved)
    assert sorted(held(directory, "train") + held(directory, "seed")) == sorted(ROWS["train"])
    assert sorted(held(directory, "test")) == sorted(ROWS["test"])


def test_a_saved_dataset_is_read_as_datasets_reads_it(dataset: Path, run_stage: Any, tmp_path: Path) -> None:
    from datasets import load_from_disk

    theirs = load_from_disk(str(dataset))
    for split, rows in ROWS.items():
        assert list(dataset_texts(dataset / split, "text")) == list(theirs[split]["text"]) == rows
    resolved = resolve_recipe(recipe([saved(dataset)]), tmp_path)
    assert resolved_source(resolved).digests == {split: content(rows) for split, rows in ROWS.items()}
    directory = build_corpus(run_stage, resolved)
    assert sorted(text for split in SPLITS for text in held(directory, split)) == sorted(
        row for rows in ROWS.values() for row in rows
    )


def test_what_a_saved_dataset_holds_after_filtering_is_what_is_read(tmp_path: Path) -> None:
    from datasets import Dataset

    rows = (
        Dataset.from_dict({"text": ROWS["train"]}).filter(lambda row: "1" in row["text"].split()[1]).select([3, 1, 2])
    )
    rows.save_to_disk(str(tmp_path / "some"))
    assert list(dataset_texts(tmp_path / "some", "text")) == list(rows["text"])


def test_a_dataset_without_splits_gives_its_held_out_documents_from_train(run_stage: Any, tmp_path: Path) -> None:
    from datasets import Dataset

    Dataset.from_dict({"story": texts(150)}).save_to_disk(str(tmp_path / "one"))
    stated = saved(Path("./one"), repo="./one", text_field="story", validation=None, test=None, held_out_share=0.15)
    resolved = resolve_recipe(recipe([stated]), tmp_path)
    assert resolved_source(resolved).repo == str(tmp_path / "one")
    assert resolve_recipe(resolved, Path("/nowhere")) == resolved
    directory = build_corpus(run_stage, resolved)
    found = {split: held(directory, split) for split in SPLITS}
    assert sorted(text for of in found.values() for text in of) == sorted(texts(150))
    assert all(8 < len(found[split]) < 45 for split in ("validation", "test"))


def test_neither_the_place_nor_the_writer_of_a_dataset_changes_a_key(dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset, tmp_path / "copy")
    keys = {
        lower(resolve_recipe(recipe([saved(folder)]), tmp_path), REPLICATE).roles["corpus"].key
        for folder in (dataset, tmp_path / "copy")
    }
    assert len(keys) == 1
    fetched(tmp_path, ROWS)
    assert resolved_source(resolve_recipe(recipe([hub()]), tmp_path)).digests == {
        split: content(rows) for split, rows in ROWS.items()
    }


def test_a_dataset_that_was_not_fetched_is_one_line_that_says_how(tmp_path: Path) -> None:
    [fault] = faults(recipe([hub()]), tmp_path)
    assert "someone/stories" in fault and COMMIT in fault and "`ablab data fetch`" in fault


def test_a_fetch_that_did_not_end_is_not_read(tmp_path: Path) -> None:
    folder = fetched(tmp_path, ROWS)
    (folder / "dataset.json").rename(folder / "dataset.json.part")
    [fault] = faults(recipe([hub()]), tmp_path)
    assert "`ablab data fetch`" in fault


@pytest.mark.parametrize("description", ["", "{", "[]", '{"splits": {"train": {}}}'])
def test_a_damaged_description_is_named(tmp_path: Path, description: str) -> None:
    folder = fetched(tmp_path, ROWS)
    (folder / "dataset.json").write_text(description)
    [fault] = faults(recipe([hub()]), tmp_path)
    assert f"{folder / 'dataset.json'} is damaged" in fault


def test_a_split_that_was_not_fetched_or_is_damaged_is_named(tmp_path: Path) -> None:
    folder = fetched(tmp_path, {split: ROWS[split] for split in ("train", "validation")})
    [fault] = faults(recipe([hub()]), tmp_path)
    assert "has no test split (the dataset's 'test')" in fault
    shutil.rmtree(folder)
    fetched(tmp_path, ROWS)
    (folder / "test.parquet").write_bytes(b"PAR1")
    (folder / "validation.parquet").unlink()
    pq.write_table(pa.table({"text": texts(81)}), folder / "train.parquet")
    found = faults(recipe([hub()]), tmp_path)
    assert "train.parquet: its content" in found[0] and "is not what was fetched" in found[0]
    assert "validation.parquet cannot be read (No such file or directory)" in found[1]
    assert "test.parquet: the file is damaged" in found[2]
    assert all("fetch" in fault or "get it again" in fault for fault in found)


def test_a_folder_that_holds_no_dataset_is_said(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    [fault] = faults(recipe([saved(tmp_path / "none")]), tmp_path)
    assert "is not a folder" in fault
    [fault] = faults(recipe([saved(tmp_path / "empty")]), tmp_path)
    assert "holds no dataset saved by datasets' save_to_disk" in fault
    [fault] = faults(recipe([saved(dataset, train="all", test="dev")]), tmp_path)
    assert "has no split train='all', test='dev' (its splits: train, validation, test)" in fault
    [fault, *_] = faults(recipe([saved(dataset, text_field="story")]), tmp_path)
    assert "no column 'story' (its columns: 'text', 'length'); set text_field" in fault
    [fault, *_] = faults(recipe([saved(dataset, text_field="length")]), tmp_path)
    assert "column 'length' holds int64, not strings" in fault


def test_a_saved_dataset_with_a_missing_or_cut_file_is_said(dataset: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(dataset, folder)
    arrow = folder / "train" / "data-00001-of-00003.arrow"
    arrow.write_bytes(arrow.read_bytes()[:-600])
    (folder / "test" / "data-00000-of-00001.arrow").unlink()
    found = faults(recipe([saved(folder)]), tmp_path)
    assert "train: the file is damaged" in found[0]
    assert "test cannot be read (No such file or directory)" in found[1]


def test_a_null_is_named_by_its_row(tmp_path: Path) -> None:
    from datasets import Dataset

    Dataset.from_dict({"text": ["a", "b", None]}).save_to_disk(str(tmp_path / "some"))
    stated = saved(tmp_path / "some", validation=None, test=None, held_out_share=0.1)
    [fault] = faults(recipe([stated]), tmp_path)
    assert "row 3: 'text' is null" in fault


def test_a_dataset_that_changes_after_resolving_stops_the_stage(run_stage: Any, tmp_path: Path) -> None:
    folder = fetched(tmp_path, ROWS)
    resolved = resolve_recipe(recipe([hub(words=1_000)]), tmp_path)
    pq.write_table(pa.table({"text": [*ROWS["train"][:-1], "another"]}), folder / "train.parquet")
    with pytest.raises(RunError, match=r"train\.parquet changed since the run began \(its content"):
        build_corpus(run_stage, resolved)


def test_fewer_words_than_a_share_of_a_dataset_are_said_with_the_numbers(dataset: Path, tmp_path: Path) -> None:
    held_words = sum(len(row.split()) for row in ROWS["train"])
    [fault] = faults(recipe([saved(dataset, share=1.0)], edits={"corpus.words": 9_999}), tmp_path)
    assert f"share=1 of corpus.words=9999 is 9999 words, more than its train text holds ({held_words})" in fault


def test_planning_a_saved_dataset_imports_no_datasets(dataset: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from corpora_helper import recipe; "
        "from ablab.corpora.resolve import resolve_recipe; "
        f"resolve_recipe(recipe([{saved(dataset)!r}]), Path({str(tmp_path)!r})); "
        "print(sorted({'torch', 'transformers', 'datasets', 'mlflow'} & set(sys.modules)))"
    )
    paths = [*map(str, (Path(__file__).parents[1], Path(__file__).parents[2], Path(__file__).parents[2] / "platform"))]
    answer = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {paths!r}; {program}"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert answer.stdout.strip() == "[]"
