"""Where things lie, said once by the environment and the same in every process."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import pytest

from ablab.registry.registry import open_registry
from ablab.settings import find_project, load_settings, redact, settings_of
from ablab.tracking.connection import sqlite_path


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty environment, and a working directory inside a project."""
    for name in [name for name in os.environ if name.startswith(("ABLAB_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    (tmp_path / "ablations").mkdir()
    (tmp_path / "notes" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "notes" / "deep")
    return tmp_path


def test_without_settings_everything_lies_in_the_nearest_project(project: Path) -> None:
    settings = load_settings()
    assert (settings.project, settings.home, settings.data) == (project, project / ".ablab", project / "data")
    assert settings.store == str(project / ".ablab" / "store")
    assert settings.registry_url == f"sqlite:///{project}/.ablab/registry.db"
    assert not (project / ".ablab").exists(), "reading settings creates nothing"


def test_a_relative_place_is_the_same_folder_for_a_process_elsewhere(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ABLAB_STORE", "my store")
    monkeypatch.setenv("ABLAB_HOME", "../home")
    settings = load_settings()
    assert settings.store == str(project / "notes" / "deep" / "my store")
    assert settings.home == project / "notes" / "home"


@pytest.mark.parametrize("folder", ["plain", "with space", "50%25 #1", "what?x=1", "ünï"])
def test_the_databases_lie_in_the_home_whatever_it_is_called(
    folder: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ABLAB_HOME", str(project / folder))
    settings = load_settings()
    open_registry(settings.registry_url).close()
    assert (project / folder / "registry.db").is_file()
    assert sqlite_path(settings.tracking_uri) == project / folder / "mlflow.db"
    assert {path.name for path in project.iterdir()} == {"ablations", "notes", folder}


def test_an_address_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABLAB_STORE", "s3://bucket/store")
    assert load_settings().store == "s3://bucket/store"


def test_an_empty_setting_counts_as_none(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABLAB_STORE", "")
    assert load_settings().store == str(project / ".ablab" / "store")


def test_settings_travel_to_another_process_as_text() -> None:
    settings = load_settings()
    assert settings_of({name: str(value) for name, value in asdict(settings).items()}) == settings


def test_outside_a_project_the_working_directory_is_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    alone = tmp_path_factory.mktemp("alone")
    assert find_project(alone) == alone


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:secret@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me:se@cr/et@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("postgresql+psycopg://host/db", "postgresql+psycopg://host/db"),
        ("sqlite:////home/me@work/registry.db", "sqlite:////home/me@work/registry.db"),
        ("postgresql://h/db?user=u&password=secret", "postgresql://h/db?user=u&password=***"),
        ("https://h/x?Api_Token=secret&y=1", "https://h/x?Api_Token=***&y=1"),
        ("postgresql//u:secret@h", "***@h"),
        ("postgresql:///u:secret@h", "postgresql:///u:***@h"),
        ("s3://k:secret@bucket", "s3://k:***@bucket"),
    ],
)
def test_passwords_are_never_shown(url: str, shown: str) -> None:
    assert redact(url) == shown
