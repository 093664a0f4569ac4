"""What the commands print: whole ids, any character, both values of every difference."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from cli_helper import call, settle
from tiny_helper import ROOT

from ablab.store.executions import Execution, write_execution

NAME = "contrastive-vs-masked"
RECORD = Execution(
    id="a1" * 32,
    ablation=NAME,
    label=f"{NAME}@1",
    scale="tiny",
    question="which?",
    design={"arms": [], "claims": [], "recipe": {"steps": 1}},
    design_digest="d" * 64,
    edits={},
    placement={"jobs": 1, "numerics": {"threads": 1}},
    roles={},
    status="failed",
    started_at="2025-01-02T03:04:05+00:00",
    host="here",
    pid=1,
    code="0" * 40,
)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a store in an empty home."""
    settle(monkeypatch, tmp_path / "home")
    return tmp_path / "home" / "store"


def test_ids_are_whole_and_edits_folded_however_long_the_rest_is(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = {f"synthetic.decoding.field_{n}": n for n in range(20)}
    write_execution(store, replace(RECORD, edits=long, message="what[/b] " * 40, label="long-name-" * 9 + "@12"))
    assert call("ablab", "status") == 0
    shown = capsys.readouterr().out
    assert RECORD.id[:12] in shown
    assert "…" not in "".join(line[:13] for line in shown.splitlines())


def test_markup_is_text(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_execution(store, replace(RECORD, message="[/b] and [red]", edits={"a": "[/b]"}))
    write_execution(store, replace(RECORD, id="b2" * 32, design={"arms": [], "claims": [], "recipe": "[/b]"}))
    assert call("ablab", "status") == 0
    assert "[/b] and [red]" in capsys.readouterr().out
    assert call("ablab", "diff", "a1a1a1", "b2b2b2") == 0
    assert '"[/b]"' in capsys.readouterr().out


def test_a_difference_carries_its_values_whatever_its_path(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for id_, share, list_ in (("a1", 0.5, [1, 2]), ("b2", 1.0, [1, 3])):
        arm = {"name": "one", "edits": {"mixture.share": share}, "of": list_}
        write_execution(store, replace(RECORD, id=id_ * 32, design={"arms": [arm], "claims": []}))
    assert call("ablab", "diff", "a1a1a1", "b2b2b2", "--json") == 0
    assert json.loads(capsys.readouterr().out)["identity"] == {
        "arms.one.edits.mixture.share": [0.5, 1.0],
        "arms.one.of": [[1, 2], [1, 3]],
    }


def test_reindex_names_every_damaged_manifest(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for key, text in (("a" * 64, "{"), ("b" * 64, '{"costs": 3}')):
        (store / "train" / key).mkdir(parents=True)
        (store / "train" / key / "manifest.json").write_text(text)
    assert call("ablab", "reindex") == 2
    errors = capsys.readouterr().err
    assert all(f"{key * 64}/manifest.json cannot be used" in errors for key in "ab")


def test_lock_pins_nothing_that_the_registry_cannot_be_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ablations").mkdir()
    shutil.copy(ROOT / "ablations" / "contrastive_vs_masked.py", tmp_path / "ablations")
    monkeypatch.setenv("ABLAB_PROJECT", str(tmp_path))
    monkeypatch.setenv("ABLAB_REGISTRY_URL", "postgresql://u:secret@127.0.0.1:1/none")
    assert call("ablab", "lock", NAME) == 2
    errors = capsys.readouterr().err
    assert "u:***@127.0.0.1" in errors
    assert "secret" not in errors
    assert [path.name for path in tmp_path.rglob("*") if path.suffix == ".json"] == []


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("MLFLOW_TRACKING_URI", "foo", "must be a tracking server or a database"),
        ("MLFLOW_TRACKING_URI", "postgresql://u:secret@127.0.0.1:1/none", "u:***@127.0.0.1"),
        ("ABLAB_HOME", "/proc/x", "ABLAB_HOME"),
    ],
)
@pytest.mark.usefixtures("store")
def test_ui_says_what_it_cannot_use(
    variable: str, value: str, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, value)
    assert call("ablab", "ui", "--port", "5987") == 2
    assert expected in capsys.readouterr().err


def test_what_is_no_study_needs_no_study_database(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fault = "ABLAB_STUDY_URL"
    monkeypatch.setenv(fault, "nonsense")
    assert call("ablab", "publish") == 2, "what can be published is, and the fault is told"
    told = capsys.readouterr()
    assert "nothing to publish" in told.out and fault in told.err
    write_execution(store, RECORD)
    assert call("ablab", "status", "a1a1") == 0
    assert call("ablab", "status", "ratio-truncation") == 2
    assert fault in capsys.readouterr().err
    assert call("ablab", "publish", "ratio-truncation") == 2
    assert fault in capsys.readouterr().err
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "foo")
    assert call("ablab", "publish", NAME) == 2
    errors = capsys.readouterr().err
    assert "must be a tracking server" in errors and fault not in errors
