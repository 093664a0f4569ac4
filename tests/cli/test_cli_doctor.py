"""`ablab doctor`: what is wrong is found and told with its remedy; nothing is changed, no secret is shown."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tiny_helper import ROOT, ablab

from ablab.cli.checks import VARIABLES, TrainingProbe, disk_check, package_checks, requirements, setting_check
from ablab.cli.checks_places import (
    data_check,
    ewok_check,
    hub_check,
    place_checks,
    registry_check,
    store_check,
    studies_check,
    tracking_check,
)
from ablab.registry.declarations import load_declarations
from ablab.registry.registry import open_registry
from ablab.settings import Settings, load_settings
from ablab.spec import BabyLMSuite, Recipe
from ablab.store.filesystems import file_system


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """An empty project with defaults."""
    for variable in [name for name in os.environ if name.startswith(("ABLAB_", "MLFLOW_"))]:
        monkeypatch.delenv(variable)
    (tmp_path / "project" / "ablations").mkdir(parents=True)
    return load_settings(tmp_path / "project")


def changed(settings: Settings, **values: Any) -> Settings:
    return Settings(**{**vars(settings), **values})


def without_torch(folder: Path) -> str:
    """A search path on which torch cannot be imported."""
    (folder / "hiding").mkdir()
    (folder / "hiding" / "torch.py").write_text("raise ImportError('libsomething.so is missing')")
    return f"{folder / 'hiding'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"


def recipe() -> Recipe:
    return load_declarations(ROOT).ablations["contrastive-vs-masked"].ablation.design("small").recipe


def test_doctor_takes_a_real_step_finds_nothing_wrong_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "project" / "ablations").mkdir(parents=True)
    more = {"ABLAB_PROJECT": str(tmp_path / "project"), "CUDA_VISIBLE_DEVICES": ""}
    done = ablab(tmp_path / "project" / "home", "doctor", "--json", **more)
    assert done.returncode == 0, done.stdout + done.stderr
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert {name: check["state"] for name, check in checks.items() if check["state"] != "ok"} == {}
    assert set(checks["training"]["details"]["losses_nats"]) == {"fp32", "bf16"}
    assert [path.name for path in (tmp_path / "project").rglob("*")] == ["ablations"]


def test_doctor_exits_1_and_shows_one_line_a_check_when_something_fails(tmp_path: Path) -> None:
    (tmp_path / "ablations").mkdir()
    (tmp_path / "ablations" / "broken.py").write_text("import nothing_like_it")
    more = {
        "ABLAB_PROJECT": str(tmp_path),
        "ABLAB_REGISTRY_URL": "postgresql://user:secret@127.0.0.1:1/none",
        "ABLAB_STUDY_URL": "postgresql://user:secret@127.0.0.1:1/none",
        "MLFLOW_TRACKING_URI": "http://user:secret@127.0.0.1:1",
        "ABLAB_EWOK_PASSWORD": "secret",
        "ABLAB_STOR": "x",
        "PYTHONPATH": without_torch(tmp_path),
    }
    done = ablab(tmp_path / "home", "doctor", **more)
    assert done.returncode == 1, done.stderr
    assert "secret" not in done.stdout + done.stderr
    lines = {
        line[5:14].strip(): line for line in done.stdout.splitlines() if line[:4].strip() in ("ok", "warn", "fail")
    }
    assert {name for name, line in lines.items() if line.startswith("fail")} == {
        "project",
        "registry",
        "studies",
        "mlflow",
        "training",
    }
    assert "did you mean 'ABLAB_STORE'" in lines["settings"]
    assert "5 failed" in done.stdout


def test_packages_are_checked_against_what_pyproject_states() -> None:
    python, stated = requirements()
    assert any(one.startswith("deepspeed") for one in stated)
    assert [check.state for check in package_checks(python, stated)] == ["ok", "ok"]


def test_a_package_out_of_range_and_an_absent_one_fail_with_the_command_that_helps() -> None:
    python, packages = package_checks(">=99", ["pydantic>=999", "nothing-like-it>=2", "rich>=1", "x; extra == 'dev'"])
    assert python.state == packages.state == "fail"
    assert "nothing-like-it is not installed" in packages.found
    assert "rich" not in packages.found
    assert packages.remedy == f"{sys.executable} -m pip install 'pydantic>=999' 'nothing-like-it>=2'"


def test_every_setting_that_the_code_reads_is_known() -> None:
    source = "\n".join(path.read_text() for path in (ROOT / "platform").rglob("*.py"))
    read = set(re.findall(r"[\"'`](ABLAB_[A-Z_]*[A-Z])\b", source))
    assert read <= VARIABLES
    assert len(read) > 5
    assert setting_check({"ABLAB_HOME": "/x", "OTHER": "1"}).state == "ok"


def test_free_space_is_told_for_the_store_that_is_not_there_yet(settings: Settings) -> None:
    check = disk_check(settings)
    assert str(settings.project) in check.found
    assert "GB free" in check.found


def test_the_store_of_an_ordinary_folder_is_usable_and_stays_untouched(settings: Settings) -> None:
    assert store_check(settings).state == "ok"
    assert not settings.home.exists()


@pytest.mark.parametrize("store", ["/proc/none", "s3://key:secret@bucket"])
def test_a_store_that_cannot_be_one_fails(store: str, settings: Settings) -> None:
    check = store_check(changed(settings, store=store))
    assert (check.state, bool(check.remedy)) == ("fail", True)
    assert "secret" not in check.found + check.remedy


def test_the_file_system_of_a_path_is_that_of_its_mount() -> None:
    assert file_system(Path("/proc/self")) == "proc"


def test_a_registry_is_absent_then_up_to_date_then_old_then_not_its_own(settings: Settings) -> None:
    assert "made by the first run" in registry_check(settings).found
    settings.home.mkdir()
    open_registry(settings.registry_url).close()
    assert (check := registry_check(settings)).state == "ok", check
    with closing(sqlite3.connect(settings.home / "registry.db")) as database:
        database.execute("DELETE FROM alembic_version")
        database.commit()
        assert registry_check(settings).state == "warn"
        database.execute("INSERT INTO alembic_version VALUES ('zzzz')")
        database.commit()
    check = registry_check(settings)
    assert (check.state, "'zzzz'" in check.found) == ("fail", True)


def test_a_file_that_is_no_database_fails(settings: Settings) -> None:
    assert "made by the first study" in studies_check(settings).found
    settings.home.mkdir()
    (settings.home / "studies.db").write_text("text " * 1000)
    assert studies_check(settings).state == "fail"
    (settings.home / "registry.db").write_text("text " * 1000)
    (settings.home / "mlflow.db").write_text("text " * 1000)
    assert registry_check(settings).state == "fail"
    assert tracking_check(settings, load_declarations(settings.project)).state == "fail"


def test_a_home_that_cannot_be_made_fails(settings: Settings) -> None:
    url = "sqlite:////proc/none/x.db"
    check = registry_check(changed(settings, registry_url=url))
    assert (check.state, "cannot be written" in check.found) == ("fail", True)


def test_tables_of_another_mlflow_fail(settings: Settings) -> None:
    declared = load_declarations(settings.project)
    assert "made by the first run" in tracking_check(settings, declared).found
    settings.home.mkdir()
    with closing(sqlite3.connect(settings.home / "mlflow.db")) as database:
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")
        database.execute("CREATE TABLE experiments (name TEXT, artifact_location TEXT)")
        database.execute("INSERT INTO alembic_version VALUES ('zzzz')")
        database.commit()
    check = tracking_check(settings, declared)
    assert (check.state, "ablab publish" in check.remedy) == ("fail", True)


def test_missing_data_is_a_warning_that_names_how_to_see_it(settings: Settings) -> None:
    recipes = {("study", "small"): [recipe()], ("study", "other"): []}
    check = data_check(settings, recipes)
    assert check.state == "warn"
    assert "1 at small" in check.found
    assert "ablab data list study --scale small" in check.remedy
    assert "childes" in check.details["missing"]["study --scale small"]
    for source in recipe().corpus.sources:
        for split in ("train", "dev", "test"):
            file = settings.data / source.path / split / f"{source.name}.{split}"  # type: ignore[union-attr]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("text")
    left = data_check(settings, recipes).details["missing"]["study --scale small"]
    assert "childes" not in left


def test_data_that_the_file_system_refuses_to_look_at_fails(settings: Settings) -> None:
    settings.data.mkdir()
    suite = BabyLMSuite(name="s", group="reasoning", path="x" * 300, items_per_task=None)
    whole = recipe()
    refused = whole.model_copy(update={"evaluation": whole.evaluation.model_copy(update={"suites": (suite,)})})
    check = data_check(settings, {("study", "small"): [refused]})
    assert (check.state, "File name too long" in check.found) == ("fail", True)


def test_the_ewok_password_is_asked_for_where_it_is_needed_and_never_shown() -> None:
    suite = BabyLMSuite(name="ewok", group="reasoning", path="e.zip", items_per_task=None, task="ewok")
    plain = recipe().model_copy(
        update={"evaluation": recipe().evaluation.model_copy(update={"suites": recipe().evaluation.suites[:1]})}
    )
    with_ewok = plain.model_copy(update={"evaluation": plain.evaluation.model_copy(update={"suites": (suite,)})})
    assert ewok_check({("a", "small"): [plain]}, {}).state == "ok"
    assert ewok_check({("a", "small"): [plain, with_ewok]}, {}).state == "warn"
    check = ewok_check({("a", "small"): [with_ewok]}, {"ABLAB_EWOK_PASSWORD": "hidden-value"})
    assert (check.state, "hidden-value" in check.found + check.remedy) == ("ok", False)


def test_an_offline_hub_is_told() -> None:
    assert hub_check({"HF_HUB_OFFLINE": "1"}).state == "warn"
    assert hub_check({"HF_HUB_OFFLINE": "0"}).state == "ok"


def test_outside_a_project_is_a_warning(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    project, *_ = place_checks(changed(settings, project=tmp_path / "empty"))
    assert (project.state, "ablab init" in project.remedy) == ("warn", True)


def test_a_device_that_is_not_there_fails_with_a_remedy() -> None:
    with TrainingProbe("cuda:99") as probe:
        (check,) = probe.checks()
    assert (check.state, "--numerics device=cpu" in check.remedy) == ("fail", True)
    assert "no cuda:99" in check.found


def test_a_training_that_takes_too_long_is_ended_and_told() -> None:
    with TrainingProbe("cpu", seconds=0.01) as probe:
        (check,) = probe.checks()
    assert (check.state, "within" in check.found) == ("fail", True)
    assert probe.ended


def test_a_training_that_cannot_start_is_told_in_its_own_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", without_torch(tmp_path))
    with TrainingProbe("cpu") as probe:
        (check,) = probe.checks()
    assert check.state == "fail"
    assert "libsomething.so is missing" in check.found
    assert "ablab.train.probe" in check.remedy
