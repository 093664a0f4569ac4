"""`ablab init` and `ablab new`: what they write is valid at once, and nothing is ever overwritten."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from cli_helper import call
from tiny_helper import ROOT, command

from ablab.cli.starting import PROJECT
from ablab.registry.declarations import load_declarations


def files_of(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def _outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder, without settings."""
    for variable in [name for name in os.environ if name.startswith(("ABLAB_", "MLFLOW_"))]:
        monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new project, in which the test stands."""
    assert call("ablab", "init", "study") == 0
    monkeypatch.chdir(tmp_path / "study")
    return tmp_path / "study"


def test_a_new_project_runs_from_inside_with_nothing_but_the_package(project: Path) -> None:
    edits = (
        *("schedule.steps=4", "schedule.warmup_steps=1", "schedule.checkpoint_every=4", "schedule.tokens_per_step=256"),
        *("schedule.validation_tokens=256", "evaluation.test_tokens=256", "synthetic.tokens=2000"),
        f"corpus.sources={_words(2_000)}",
    )
    done = subprocess.run(
        command(
            "run-ablation", "self-training", "--jobs", "1", "--numerics", "threads=1", "--json", "--replicates", "1"
        )
        + [part for edit in edits for part in ("--set", edit)],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (claim,) = json.loads(done.stdout)["comparison"]["claims"]
    assert claim["id"] == "own-text-perplexity"
    assert {path.name for path in project.iterdir()} == {*(Path(n).parts[0] for n in PROJECT), "data", ".ablab"}


def _words(words: int) -> str:
    source = {"kind": "microworld", "world_seed": 1, "words": words, "validation_words": 500, "test_words": 500}
    return json.dumps([source])


def test_a_new_project_is_clean_in_git_and_formatted(project: Path) -> None:
    git = ["git", "-c", "init.defaultBranch=main"]
    subprocess.run([*git, "init", "-q"], cwd=project, check=True)
    (project / "data" / "text.txt").write_text("text")
    (project / ".ablab").mkdir()
    (project / ".ablab" / "registry.db").write_text("")
    listed = subprocess.run(
        [*git, "ls-files", "-o", "--exclude-standard"], cwd=project, check=True, capture_output=True, text=True
    )
    assert sorted(listed.stdout.split()) == sorted(PROJECT)
    ruff = [sys.executable, "-m", "ruff"]
    for check in (["check"], ["format", "--check"]):
        subprocess.run([*ruff, *check, "--config", str(ROOT / "pyproject.toml"), "."], cwd=project, check=True)


def test_every_template_is_in_the_package(project: Path) -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["ablab"]
    package = ROOT / "platform" / "ablab"
    packed = {path for pattern in data for path in package.glob(pattern)}
    assert packed >= {path for path in (package / "cli" / "templates").iterdir() if path.is_file()}
    assert set(files_of(project)) == set(PROJECT)


@pytest.mark.parametrize("held", ["notes.txt", ".hidden", "ablations/x.py"])
def test_init_refuses_a_folder_that_holds_anything_and_names_it(
    held: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "study" / held
    kept.parent.mkdir(parents=True)
    kept.write_text("mine")
    assert call("ablab", "init", "study") == 2
    assert f"it holds {Path(held).parts[0]};" in capsys.readouterr().err
    assert files_of(tmp_path / "study") == {held: "mine"}


def test_init_takes_an_empty_folder_a_fresh_clone_and_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "clone" / ".git").mkdir(parents=True)
    assert call("ablab", "init", "clone") == 0
    assert "cd clone" in capsys.readouterr().out
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert call("ablab", "init", ".") == 0
    assert "cd " not in capsys.readouterr().out
    assert (tmp_path / "here" / "README.md").read_text().startswith("# here\n")


@pytest.mark.parametrize(("place", "expected"), [("file", "is a file"), ("file/inside", "cannot be written")])
def test_init_says_why_a_place_cannot_be_used(
    place: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    assert call("ablab", "init", place) == 2
    assert expected in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


def test_init_warns_where_a_setting_names_another_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ABLAB_PROJECT", str(tmp_path / "other"))
    assert call("ablab", "init", "study") == 0
    assert "unset ABLAB_PROJECT" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "file"), [("dropout", "dropout"), ("dropout-0.1", "dropout_0_1"), ("9-A_b", "9_A_b")])
def test_a_new_declaration_is_valid_as_written(
    name: str, file: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_of(project)
    assert call("ablab", "new", name) == 0
    assert f"wrote ablations/{file}.py" in capsys.readouterr().out
    assert call("ablab", "show", name) == 0
    assert "arm control-again, edits of control (seeds + 1000)" in capsys.readouterr().out
    written = files_of(project)
    assert written.keys() - before.keys() == {f"ablations/{file}.py"}
    assert before.items() <= written.items()
    design = load_declarations(project).find(name).ablation.design("smoke")
    assert [claim.factor for claim in design.claims] == ["schedule.learning_rate"]


def test_a_new_declaration_starts_from_the_recipes_of_this_repository_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("ablations", "experiments"):
        shutil.copytree(ROOT / folder, tmp_path / "copy" / folder)
    monkeypatch.chdir(tmp_path / "copy" / "experiments")
    assert call("ablab", "new", "mine") == 0
    assert "from experiments.scales import smoke" in (tmp_path / "copy" / "ablations" / "mine.py").read_text()


def test_a_project_without_recipes_is_given_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ablations").mkdir()
    assert call("ablab", "new", "mine") == 0
    assert "wrote experiments/recipes.py" in capsys.readouterr().out
    assert set(files_of(tmp_path)) == {"ablations/mine.py", "experiments/__init__.py", "experiments/recipes.py"}


def test_new_from_copies_a_declaration_under_the_new_name(project: Path) -> None:
    source = project / "ablations" / "self_training.py"
    source.write_text(source.read_text().replace("version=1", "version=3"))
    assert call("ablab", "new", "mine", "--from", "self-training") == 0
    found = load_declarations(project)
    mine, other = found.find("mine").ablation, found.find("self-training").ablation
    assert (mine.version, mine.designs) == (1, other.designs)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["self-training"], "is declared in ablations/self_training.py"),
        (["self.training"], "ablations/self_training.py exists already"),
        (["../evil"], "must be 1 to 100 letters"),
        (["a b"], "must be 1 to 100 letters"),
        (["pinned"], "has pinned versions"),
        (["mine", "--from", "self-trainin"], "did you mean 'self-training'"),
        ([], "required: NAME"),
    ],
)
def test_new_with_bad_input_writes_nothing(
    arguments: list[str],
    expected: str,
    project: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (project / "ablations" / "versions").mkdir()
    (project / "ablations" / "versions" / "pinned@1.json").write_text("{}")
    before = files_of(project)
    assert call("ablab", "new", *arguments) == 2
    assert expected in capsys.readouterr().err
    assert files_of(project) == before


def test_new_outside_a_project_says_how_to_start_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("ablab", "new", "mine") == 2
    assert "ablab init DIR" in capsys.readouterr().err
    assert files_of(tmp_path) == {}


def test_new_takes_back_what_the_projects_own_recipe_makes_invalid(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipes = project / "experiments" / "recipes.py"
    recipes.write_text(recipes.read_text().replace("steps=200", "steps=210"))
    before = files_of(project)
    assert call("ablab", "new", "mine") == 2
    errors = capsys.readouterr().err
    assert "ablations/mine.py would not be valid" in errors
    assert "schedule.steps=210 must be a multiple" in errors
    assert files_of(project) == before


def test_new_asks_for_a_recipe_where_there_are_others(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "experiments" / "recipes.py").write_text("def large():\n    ...\n")
    assert call("ablab", "new", "mine") == 2
    assert "smoke()" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["init", "new", "doctor", "schema"])
def test_the_commands_for_starting_have_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("ablab", name, "--help") == 0
    assert f"ablab {name}" in capsys.readouterr().out.partition("examples:")[2]


@pytest.mark.parametrize("arguments", [["init", "study"], ["new", "mine"], ["schema"]])
def test_the_commands_for_starting_import_no_heavy_library(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "ablations").mkdir()
    code = (
        "import sys; from ablab.cli import main; sys.argv = ['ablab', *sys.argv[1:]]\n"
        "try: main.main()\n"
        "except SystemExit: print('loaded', {'torch', 'datasets', 'mlflow', 'deepspeed'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded set()"
