"""What the suite stage makes of every task of the BabyLM evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from babylm_helper import PASSWORD, SECRET, SUITES, ewok_zip, reading_rows, suite, write_layout
from corpora_helper import WORLD, recipe

from ablab.corpora.resolve import resolve_recipe
from ablab.errors import RunError
from ablab.spec import Recipe, Replicate, lower
from experiments.babylm_suites import fast, full


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ABLAB_EWOK_PASSWORD", PASSWORD)
    return write_layout(tmp_path / "data")


def build(run_stage: Any, resolved: Recipe) -> tuple[Path, dict[str, Any]]:
    stage = lower(resolved, Replicate(train_seed=1, generation_seed=1)).roles["suite"]
    directory: Path = run_stage("suite", stage.params, {}, stage.locations)
    return directory, json.loads((directory / "result.json").read_text())["suites"]


def built(run_stage: Any, data: Path, name: str, **fields: Any) -> tuple[Path, dict[str, Any]]:
    """Directory and result of one suite."""
    directory, result = build(run_stage, resolve_recipe(recipe([WORLD], [suite(name, **fields)]), data))
    found: dict[str, Any] = result[name]
    return directory / name, found


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_entity_tracking_has_a_task_for_every_number_of_operations_and_a_section_for_every_split(
    run_stage: Any, data: Path
) -> None:
    folder, result = built(run_stage, data, "entity")
    assert result["chance"] == 20.0
    assert result["sections"] == {
        "ambiref": ["ambiref_0_ops", "ambiref_1_ops"],
        "move_contents": ["move_contents_0_ops", "move_contents_1_ops", "move_contents_2_ops"],
        "regular": ["regular_0_ops", "regular_1_ops", "regular_2_ops"],
    }
    assert result["tasks"]["regular_2_ops"] == 6
    last = rows(folder / "regular_2_ops.jsonl")[-1]
    assert last["id"] == "entity/regular_2_ops/5"
    assert last["context"] == "Box 5 contains the hat. Move it. Move it. Box 5 contains "
    assert len(last["options"]) == 5


def test_rows_of_one_story_are_a_cluster_across_numbers_of_operations_but_not_across_splits(
    run_stage: Any, data: Path
) -> None:
    folder, _ = built(run_stage, data, "entity")
    clusters = {path.stem: [row["cluster"] for row in rows(path)] for path in folder.glob("*.jsonl")}
    assert clusters["regular_2_ops"][-1] == "entity/regular#5"
    assert set(clusters["regular_0_ops"]) & set(clusters["regular_1_ops"])
    assert not set(clusters["regular_0_ops"]) & set(clusters["ambiref_0_ops"])
    folder, _ = built(run_stage, data, "pairs")
    assert not any("cluster" in row for path in folder.glob("*.jsonl") for row in rows(path))


def test_fewer_items_of_entity_tracking_are_the_first_of_every_level(run_stage: Any, data: Path) -> None:
    _, result = built(run_stage, data, "entity", items_per_task=2)
    assert set(result["tasks"].values()) == {1, 2}
    assert result["tasks"]["move_contents_2_ops"] == 1


def test_nonce_words_keep_the_share_of_people(run_stage: Any, data: Path) -> None:
    folder, result = built(run_stage, data, "wug_past")
    assert (result["chance"], result["metric"], result["tasks"]) == (None, "spearman", {"wug_past": 13})
    row = rows(folder / "wug_past.jsonl")[1]
    assert row["options"] == ["cemable. cemableed", "cemable. cemablet"]
    assert row["ratio"] == 7 / 11


def test_words_without_a_number_that_their_regression_needs_are_left_out(run_stage: Any, data: Path) -> None:
    written = reading_rows(12)
    frequent = [row[""] for row in written if row["Subtlex_log10"] != ""]
    folder, result = built(run_stage, data, "eye")
    eye = rows(folder / "reading_data.jsonl")
    assert [row["id"] for row in eye] == [f"eye/reading_data/{number}" for number in frequent]
    assert (result["chance"], result["metric"]) == (None, "r2-increment")
    assert eye[1]["context"] == "Anna puts" and eye[1]["options"] == ["the"]
    assert eye[1]["predictors"] == {"Subtlex_log10": written[1]["Subtlex_log10"], "length": 3, "context_length": 2}
    assert list(eye[1]["times"]) == ["RTfirstfix", "RTfirstpass", "RTgopast", "RTrightbound"]
    spilled = [n for n in frequent if written[n]["prev_item"] not in ("", "None")]
    folder, _ = built(run_stage, data, "self_paced")
    paced = rows(folder / "reading_data.jsonl")
    assert [row["id"] for row in paced] == [f"self_paced/reading_data/{number}" for number in spilled]
    assert paced[0]["previous"] == {"context": "Anna", "option": "puts"}
    assert list(paced[0]["predictors"]) == ["Subtlex_log10", "length", "context_length", "prev_length"]


def test_words_of_one_sentence_are_one_cluster_and_rows_of_a_domain_with_the_same_contexts_as_well(
    run_stage: Any, data: Path
) -> None:
    sentence_of = {f"eye/reading_data/{row['']}": row["sentence"] for row in reading_rows(12)}
    folder, _ = built(run_stage, data, "eye")
    words = rows(folder / "reading_data.jsonl")
    pairs = {(row["cluster"], sentence_of[row["id"]]) for row in words}
    assert len(pairs) == 12 == len({cluster for cluster, _ in pairs}), "as many clusters as sentences, one for one"
    assert words[1]["cluster"].endswith("/reading_data#0"), "named by its first row"
    folder, _ = built(run_stage, data, "self_paced")
    pairs |= {
        (row["cluster"], sentence_of[row["id"].replace("self_paced", "eye")])
        for row in rows(folder / "reading_data.jsonl")
    }
    assert len(pairs) == 12, "the same sentences were read both ways"
    folder, _ = built(run_stage, data, "ewok")
    domain = "ewok/agent-properties"
    assert rows(folder / "agent-properties.jsonl") == [
        {"id": f"{domain}/{row}", "cluster": f"{domain}#{first}"} for row, first in enumerate((0, 0, 2, 2))
    ]


def test_the_word_none_is_a_missing_cell_as_the_pipeline_reads_it(run_stage: Any, data: Path) -> None:
    number = next(row[""] for row in reading_rows(12) if row["item"] == "None" and row["Subtlex_log10"] != "")
    folder, _ = built(run_stage, data, "eye")
    [row] = [row for row in rows(folder / "reading_data.jsonl") if row["id"].endswith(f"/{number}")]
    assert row["context"] == "None"


def test_a_leading_space_is_part_of_every_word(run_stage: Any, data: Path) -> None:
    folder, _ = built(run_stage, data, "self_paced", leading_space=True)
    row = rows(folder / "reading_data.jsonl")[0]
    assert row["options"] == [" the"] and row["previous"] == {"context": "Anna", "option": " puts"}


def test_of_an_encrypted_suite_ids_alone_are_written(run_stage: Any, data: Path) -> None:
    folder, result = built(run_stage, data, "ewok")
    assert result["tasks"] == {"agent-properties": 4, "material-dynamics": 2, "social-relations": 6}
    assert [set(row) for row in rows(folder / "material-dynamics.jsonl")] == [{"id", "cluster"}] * 2
    held = b"".join(path.read_bytes() for path in folder.parent.rglob("*") if path.is_file())
    assert SECRET.encode() not in held and PASSWORD.encode() not in held
    stage = lower(resolve_recipe(recipe([WORLD], [suite("ewok")]), data), Replicate(train_seed=1, generation_seed=1))
    for role in ("evaluate", "floor", "requests"):
        assert stage.roles[role].locations == {result["encrypted"]: str(data / "ewok.zip")}


def test_a_zip_that_changed_after_resolving_stops_the_stage(run_stage: Any, data: Path) -> None:
    resolved = resolve_recipe(recipe([WORLD], [suite("ewok")]), data)
    (data / "ewok.zip").write_bytes(ewok_zip({"agent-properties": 9}))
    with pytest.raises(RunError, match=r"ewok\.zip changed since the run began"):
        build(run_stage, resolved)


def test_a_stage_without_the_password_says_so(run_stage: Any, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolved = resolve_recipe(recipe([WORLD], [suite("ewok")]), data)
    monkeypatch.delenv("ABLAB_EWOK_PASSWORD")
    with pytest.raises(RunError, match="set ABLAB_EWOK_PASSWORD to its password"):
        build(run_stage, resolved)


def test_equal_files_give_equal_stages(run_stage: Any, data: Path) -> None:
    resolved = resolve_recipe(recipe([WORLD], [suite(name) for name in SUITES]), data)
    (one, first), (other, second) = build(run_stage, resolved), build(run_stage, resolved)
    assert first == second
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert len(files) == 2 + 8 + 3 + 4 + 1
    assert all((one / file).read_bytes() == (other / file).read_bytes() for file in files)


@pytest.mark.data
def test_the_official_suites_have_the_published_numbers_of_rows(
    shared_data: Path, run_stage: Any, tmp_path: Path
) -> None:
    chosen = [s.model_dump(mode="json") for s in full(leave_out=("ewok", "wug_past_tense"))]
    resolved = resolve_recipe(recipe([WORLD], chosen), shared_data, tmp_path / "facts.json")
    _, result = build(run_stage, resolved)
    counted = {name: (len(entry["tasks"]), sum(entry["tasks"].values())) for name, entry in result.items()}
    assert counted == {
        "blimp": (67, 59_875),
        "supplement": (5, 5_218),
        "entity_tracking": (18, 9_483),
        "wug_adj_nominalization": (1, 200),
        "eye_tracking": (1, 1_696),
        "self_paced_reading": (1, 1_496),
    }
    assert {section: len(tasks) for section, tasks in result["entity_tracking"]["sections"].items()} == {
        "ambiref": 6,
        "move_contents": 6,
        "regular": 6,
    }


@pytest.mark.data
def test_the_fast_suites_are_complete(shared_data: Path, tmp_path: Path) -> None:
    absent = ("ewok_fast", "entity_tracking_fast", "wug_adj_nominalization", "wug_past_tense")
    chosen = fast(leave_out=(*absent, "eye_tracking", "self_paced_reading"))
    assert [s.name for s in chosen] == ["blimp_fast", "supplement_fast"]
    resolve_recipe(recipe([WORLD], [s.model_dump(mode="json") for s in chosen]), shared_data, tmp_path / "facts.json")
