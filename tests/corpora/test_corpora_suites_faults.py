"""Bad input of suites: found at resolving, all of it, with what it is and what to do; never a text of EWoK."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from babylm_helper import (
    PASSWORD,
    SECRET,
    encrypted_zip,
    entity_rows,
    ewok_rows,
    json_lines,
    reading_csv,
    reading_rows,
    suite,
    write_layout,
    wug_rows,
)
from corpora_helper import WORLD, recipe

from ablab.corpora.resolve import resolve_recipe
from ablab.errors import InputError
from experiments.babylm_suites import full


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ABLAB_EWOK_PASSWORD", PASSWORD)
    return write_layout(tmp_path / "data")


def faults(data: Path, *suites: dict[str, Any], cache: Path | None = None) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        resolve_recipe(recipe([WORLD], list(suites)), data, cache)
    return caught.value.faults


def resolves(data: Path, *suites: dict[str, Any], cache: Path | None = None) -> None:
    resolve_recipe(recipe([WORLD], list(suites)), data, cache)


def test_missing_and_extra_files_are_named_with_the_mean_that_they_are_left_out_of(data: Path) -> None:
    declared = ["agreement.jsonl", "absent.jsonl", "gone.jsonl"]
    missing, extra = faults(data, suite("pairs", files=declared))
    assert "lacks 2 (absent.jsonl, gone.jsonl) of the suite's 3 files" in missing
    assert "left out of the mean over 3 tasks" in missing
    assert "holds 1 (other.jsonl) beside the suite's 3 files, left out of the mean over 3 tasks" in extra
    resolves(data, suite("pairs", files=["agreement.jsonl", "other.jsonl"]))
    resolves(data, suite("pairs"))


def test_a_domain_that_the_zip_lacks_is_named(data: Path) -> None:
    domains = [f"{name}.jsonl" for name in ("agent-properties", "material-dynamics", "social-relations")]
    resolves(data, suite("ewok", files=domains))
    [missing, extra] = faults(data, suite("ewok", files=["agent-properties.jsonl", "spatial.jsonl"]))
    assert "ewok.zip lacks 1 (spatial.jsonl) of the suite's 2 files, which would be left out of the mean" in missing
    assert "2 (material-dynamics.jsonl, social-relations.jsonl) beside the suite's 2 files" in extra


def test_a_split_of_entity_tracking_that_is_missing_is_named(data: Path) -> None:
    (data / "entity" / "regular.jsonl").unlink()
    [fault] = faults(data, suite("entity", files=["ambiref.jsonl", "move_contents.jsonl", "regular.jsonl"]))
    assert "lacks 1 (regular.jsonl)" in fault and "the mean over 3 splits" in fault


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no zip", "is not a zip file"),
        (encrypted_zip({"readme.txt": b"nothing"}), r"holds no *.jsonl"),
        (encrypted_zip({"a.jsonl": b"{}"}, method=99), "encrypted with AES; only the traditional encryption"),
        (encrypted_zip({"a.jsonl": b"{}"}, method=14), "compressed with method 14"),
        (encrypted_zip({"a.jsonl": b"{}", "b/a.jsonl": b"{}"}), "two files of one name"),
        (encrypted_zip({"a.jsonl": b"\n"}), "the file holds no rows"),
        (encrypted_zip({"a.jsonl": b"\xff"}), "invalid UTF-8"),
        (encrypted_zip({"a.jsonl": b"{}"}, "another"), "cannot be decrypted with the password in ABLAB_EWOK_PASSWORD"),
    ],
)
def test_a_zip_that_cannot_be_used_is_refused_with_the_reason(data: Path, content: bytes, reason: str) -> None:
    (data / "ewok.zip").write_bytes(content)
    [fault] = faults(data, suite("ewok"))
    assert str(data / "ewok.zip") in fault and reason in fault


def test_a_zip_without_encryption_is_refused(data: Path) -> None:
    with zipfile.ZipFile(data / "ewok.zip", "w") as archive:
        archive.writestr("a.jsonl", json_lines(ewok_rows("a", 1)))
    [fault] = faults(data, suite("ewok"))
    assert "is not encrypted, but EWoK's terms ask for a zip with a password" in fault


def test_a_zip_that_is_not_there_is_named(data: Path) -> None:
    [fault] = faults(data, suite("ewok", path="absent.zip"))
    assert "path='absent.zip' is not a file" in fault and f"ABLAB_DATA ({data})" in fault


def test_the_password_is_asked_for_again_when_the_zip_is_known(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = data / "facts.json"
    resolves(data, suite("ewok"), cache=cache)
    monkeypatch.setenv("ABLAB_EWOK_PASSWORD", "another")
    [fault] = faults(data, suite("ewok"), cache=cache)
    assert "cannot be decrypted" in fault and "another" not in fault
    monkeypatch.delenv("ABLAB_EWOK_PASSWORD")
    [fault] = faults(data, suite("ewok"), cache=cache)
    assert "is encrypted; set ABLAB_EWOK_PASSWORD to its password" in fault
    monkeypatch.setenv("ABLAB_EWOK_PASSWORD", PASSWORD)
    resolves(data, suite("ewok"), cache=cache)


def test_rows_of_the_zip_that_lack_keys_are_named_by_line_and_never_shown(data: Path) -> None:
    row = ewok_rows("a", 1)[0]
    lines = [
        json.dumps({key: text for key, text in row.items() if key != "Context1"}),
        json.dumps(row | {"Target2": 3}),
        json.dumps(row)[:-9],
        json.dumps([SECRET]),
    ]
    (data / "ewok.zip").write_bytes(encrypted_zip({"a.jsonl": "\n".join(lines).encode()}))
    cache = data / "facts.json"
    found = faults(data, suite("ewok"), cache=cache)
    assert found == faults(data, suite("ewok"), cache=cache)
    start = f"suite 'ewok': {data / 'ewok.zip'}: a.jsonl"
    assert [fault.removeprefix(start).partition("; correct")[0] for fault in found] == [
        ":1: Context1 must be a text; it is missing",
        ":2: Target2 must be a text that is not empty",
        ":3: not JSON",
        ":4: a list, not an object with Context1, Context2, Target1, Target2",
    ]
    assert SECRET not in "".join(found) + cache.read_text() and PASSWORD not in cache.read_text()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"options": []}, "options must be 5 texts, the right one first, not 0"),
        ({"options": None}, "options must be 5 texts, the right one first, not None"),
        ({"options": ["a", "b", "c", "d", " "]}, "options[4] must be a text, not ' '"),
        ({"input_prefix": ""}, "input_prefix must be a text, not ''"),
        ({"numops": "1"}, "numops must be a number of operations, not '1'"),
        ({"numops": -1}, "numops must be a number of operations, not -1"),
        ({"sample_id": [1]}, "sample_id must be the number or name of a story, not [1]"),
    ],
)
def test_rows_of_entity_tracking_that_cannot_be_used_are_named(data: Path, change: dict[str, Any], reason: str) -> None:
    rows = entity_rows([2], "")
    (data / "entity" / "ambiref.jsonl").write_text(json_lines([rows[0], rows[1] | change]))
    [fault] = faults(data, suite("entity"))
    assert f"{data / 'entity' / 'ambiref.jsonl'}:2: {reason}" in fault


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ratio": float("nan")}, "ratio must be a number, not nan"),
        ({"ratio": None}, "ratio must be a number, not None"),
        ({"ratio": True}, "ratio must be a number, not True"),
        ({"sentences": "only one"}, "sentences must be two or more variants between tabs, not 'only one'"),
        ({"sentences": "one\t"}, "two or more variants between tabs"),
    ],
)
def test_nonce_words_that_cannot_be_used_are_named(data: Path, change: dict[str, Any], reason: str) -> None:
    rows = wug_rows(5, ("ity", "ness"))
    (data / "wug_adj" / "wug_adj.jsonl").write_text(json_lines([rows[0] | change, *rows[1:]]))
    [fault] = faults(data, suite("wug_adj"))
    assert f"{data / 'wug_adj' / 'wug_adj.jsonl'}:1: " in fault and reason in fault


def test_what_is_too_little_for_a_score_is_refused(data: Path) -> None:
    rows = wug_rows(5, ("ity", "ness"))
    (data / "wug_adj" / "wug_adj.jsonl").write_text(json_lines(rows[:2]))
    (data / "wug_past" / "wug_past.jsonl").write_text(json_lines([row | {"ratio": 0.5} for row in rows]))
    (data / "reading" / "reading_data.csv").write_text(reading_csv(reading_rows(1)))
    few, same, eye, paced = faults(data, *(suite(name) for name in ("wug_adj", "wug_past", "eye", "self_paced")))
    assert "2 nonce words are too few for a score; 3 are needed" in few
    assert "every ratio is the same" in same
    assert "5 rows have every number that eye-tracking needs; a fit takes 10 or more" in eye
    assert "4 rows have every number that self-paced-reading needs; a fit takes 20 or more" in paced


def test_fewer_items_than_a_score_takes_are_refused(data: Path) -> None:
    found = faults(data, suite("wug_adj", items_per_task=2), suite("self_paced", items_per_task=19))
    assert "items_per_task=2 is too few for a score; use 3 or more" in found[0]
    assert "items_per_task=19 is too few for a score; use 20 or more" in found[1]


def test_columns_that_reading_lacks_are_named(data: Path) -> None:
    path = data / "reading" / "reading_data.csv"
    path.write_text(path.read_text().replace("prev_word", "before").replace("RTgopast", "gopast"))
    eye, paced = faults(data, suite("eye"), suite("self_paced"))
    assert f"{path}:1: the columns RTgopast are missing, which eye-tracking needs" in eye
    assert f"{path}:1: the columns prev_word are missing, which self-paced-reading needs" in paced


def test_cells_that_are_no_numbers_are_named_by_line(data: Path) -> None:
    rows = reading_rows(12)
    rows[2]["RTfirstfix"], rows[4]["length"], rows[6]["word"] = "soon", "inf", ""
    rows[8]["word"] = " in"
    path = data / "reading" / "reading_data.csv"
    path.write_text(reading_csv(rows) + "99,short\n")
    found = faults(data, suite("eye"))
    assert [fault.partition(str(path))[2] for fault in found] == [
        ":4: RTfirstfix must be a number, not 'soon'",
        ":6: length must be a number, not 'inf'",
        ":8: word is empty",
        ":10: word must have no space around it: ' in'",
        ":74: the row ends before word",
    ]


def test_a_leading_space_is_for_reading_only(data: Path) -> None:
    with pytest.raises(InputError, match="leading_space is for reading only, not for task 'wug'"):
        recipe([WORLD], [suite("wug_adj", leading_space=True)])
    resolves(data, suite("eye", leading_space=True))


def test_all_faults_of_all_suites_come_in_one_error(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ABLAB_EWOK_PASSWORD")
    (data / "pairs" / "other.jsonl").write_text("{}\n")
    suites = [suite("ewok"), suite("pairs", files=["other.jsonl"]), suite("entity", path="nowhere")]
    found = faults(data, *suites)
    assert [fault.split(":")[0] for fault in found] == ["suite 'ewok'", *["suite 'pairs'"] * 2, "suite 'entity'"]


def test_a_suite_that_the_official_layout_has_not_cannot_be_left_out() -> None:
    with pytest.raises(InputError, match="there is no suite 'ewoc'; did you mean 'ewok'"):
        full(leave_out=("ewoc",))
    assert len(full()) == 8
