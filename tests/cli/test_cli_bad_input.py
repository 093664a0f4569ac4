"""Bad input: one clear error that names every fault, exit code 2, nothing computed, nothing written."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from cli_helper import call, settle

import ablab
from ablab.cli.common import typed
from ablab.errors import RunError
from ablab.runner.plan import Plan
from ablab.runner.progress import View
from ablab.store.executions import read_executions

NAME = "contrastive-vs-masked"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that does not exist yet."""
    settle(monkeypatch, tmp_path / "home")
    monkeypatch.setenv("ABLAB_DATA", str(tmp_path / "data"))
    return tmp_path / "home"


def run(capsys: pytest.CaptureFixture[str], program: str, *arguments: str) -> tuple[int, str]:
    """Exit code and standard error of a command, in this process."""
    return call(program, *arguments), capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["contrastive-vs-maskd"], ["did you mean 'contrastive-vs-masked'"]),
        ([f"{NAME}@99"], ["no pinned version 99"]),
        ([f"{NAME}@x"], ["NAME@VERSION or NAME@dev"]),
        (["../../etc/passwd"], ["must be 1 to 100 letters"]),
        ([NAME, "--scale", "smok"], ["no scale 'smok'", "did you mean 'smoke'"]),
        ([NAME, "--set", "mixture.shar=1"], ["mixture.shar", "did you mean 'mixture.share'"]),
        ([NAME, "--set", "mixture.share=1.5", "--set", "schedule.steps=-1"], ["mixture.share", "schedule.steps"]),
        ([NAME, "--set", "schedule.steps=many"], ["schedule.steps='many'"]),
        ([NAME, "--set", "schedule.steps"], ["PATH=VALUE"]),
        ([NAME, "--set", "schedule.tokens_per_step=1000"], ["multiple of model.context=128", "try 1024"]),
        ([NAME, "--set", "schedule.checkpoint_every=80"], ["synthetic.bad.step=100 must be a checkpoint"]),
        (
            [NAME, "--set", 'good.selection={"kind":"at-step","step":50}'],
            ["synthetic.bad.step=100 must be earlier than GOOD's declared step 50"],
        ),
        ([NAME, "--jobs", "0"], ["--jobs=0 must be at least 1"]),
        ([NAME, "--jobs", "99999"], ["--jobs=99999 is too many for", "cores"]),
        ([NAME, "--numerics", "thread"], ["--numerics 'thread' must be"]),
        ([NAME, "--numerics", "thread=2"], ["did you mean 'threads'"]),
        ([NAME, "--scale", "small"], ["childes", "gutenberg", "simple_wiki", "blimp_fast", "supplement_fast"]),
        ([], ["required: NAME"]),
    ],
)
def test_run_ablation_with_bad_input(
    arguments: list[str],
    expected: list[str],
    home: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, errors = run(capsys, "run-ablation", *arguments)
    assert code == 2, errors
    for text in expected:
        assert text in errors
    assert "Traceback" not in errors
    assert not (home / "store").exists(), "nothing was computed"


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("ABLAB_REGISTRY_URL", "postgresql://user:secret@127.0.0.1:1/none", "user:***@127.0.0.1"),
        ("ABLAB_REGISTRY_URL", "nonsense", "ABLAB_REGISTRY_URL"),
        ("MLFLOW_TRACKING_URI", "http://127.0.0.1:1", "127.0.0.1:1"),
        ("MLFLOW_TRACKING_URI", "file:///tmp/mlruns", "must be a tracking server or a database"),
        ("ABLAB_STORE", "/proc/none", "cannot be written"),
    ],
)
def test_a_database_or_server_that_cannot_be_reached_is_found_before_work(
    variable: str,
    value: str,
    expected: str,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(variable, value)
    code, errors = run(capsys, "run-ablation", NAME, "--scale", "tiny")
    assert code == 2, errors
    assert expected in errors
    assert "secret" not in errors
    assert not list((home / "store").glob("*/*")), "nothing was computed"


def test_every_fault_is_told_at_once(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ABLAB_STORE", "s3://k:secret@bucket")
    monkeypatch.setenv("ABLAB_REGISTRY_URL", "postgresql://u:secret@127.0.0.1:1/none")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql//u:secret@host")
    arguments = [
        "--jobs",
        "0",
        "--numerics",
        "thread=1",
        "--set",
        "schedule.stepz=1",
        "--set",
        "mixture.share=2",
        "--scale",
        "smok",
    ]
    code, errors = run(capsys, "run-ablation", NAME, *arguments)
    assert code == 2
    told = ("--jobs=0", "'threads'", "no such path", "'smoke'", "s3://k:***@bucket", "u:***@127", "'***@host'")
    for text in told:
        assert text in errors
    assert "secret" not in errors
    assert not home.exists()


def test_a_device_that_is_not_there_is_refused_for_a_run_and_planned_with(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    arguments = (NAME, "--scale", "tiny", "--numerics", "device=cuda")
    code, errors = run(capsys, "run-ablation", *arguments)
    assert (code, "sees no GPU" in errors) == (2, True)
    assert run(capsys, "run-ablation", *arguments, "--plan")[0] == 0
    assert not (home / "store").exists() or not list((home / "store").glob("*/*"))


def test_a_reader_that_goes_away_is_why_a_run_was_interrupted(home: Path) -> None:
    class Gone(View):
        def begin(self, plan: Plan) -> None:  # noqa: ARG002
            raise SystemExit(1)  # what rich makes of a broken pipe

    with pytest.raises(RunError, match="reader of the output went away"):
        ablab.run(NAME, scale="tiny", view=Gone())
    (record,) = read_executions(home / "store")
    assert (record.status, record.message) == ("interrupted", "the reader of the output went away")


def test_a_program_is_named_as_it_can_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / ".venv" / "bin" / "ablab"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program.with_name("python")))
    monkeypatch.setenv("PATH", "")
    monkeypatch.chdir(tmp_path)
    assert typed("ablab") == ".venv/bin/ablab"
    monkeypatch.setenv("PATH", str(program.parent))
    assert typed("ablab") == "ablab"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["show", "contrastive"], "did you mean"),
        (["compare", NAME, "--scale", "tiny"], "no arm has a result"),
        (["diff", f"{NAME}:contrastiv", f"{NAME}:ancestral"], "did you mean 'contrastive'"),
        (["diff", "abcdef12", "abcdef34"], "no execution or stage begins with abcdef12"),
        (["status", "abcdef"], "0 runs have an id"),
        (["lock", "nothing-like-it"], "nothing-like-it"),
        (["publish", "nothing-like-it"], "no run of 'nothing-like-it'"),
        (["ui", "--port", "99999"], "--port 99999 for MLflow: must be from 1 to 65535"),
        (["lst"], "invalid choice: 'lst'"),
        (["reindex"], "ABLAB_STORE=s3://k:***@bucket must be a folder"),
    ],
)
@pytest.mark.usefixtures("home")
def test_ablab_with_bad_input(
    arguments: list[str], expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if "ABLAB_STORE" in expected:
        monkeypatch.setenv("ABLAB_STORE", "s3://k:secret@bucket")
    code, errors = run(capsys, "ablab", *arguments)
    assert code == 2, errors
    assert expected in errors


def test_a_plan_of_data_that_is_not_there_is_costed_with_a_note(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("run-ablation", NAME, "--scale", "paper", "--plan") == 0
    output = capsys.readouterr().out
    assert "note:" in output
    assert "roneneldan--TinyStories" in output
    assert not home.exists()


@pytest.mark.parametrize("program", ["run-ablation", "ablab"])
def test_help_shows_examples(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(program, "--help") == 0
    assert "examples:" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["list", "show", "diff", "status", "compare", "lock", "reindex", "publish", "ui"])
def test_every_command_has_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("ablab", command, "--help") == 0
    assert f"ablab {command}" in capsys.readouterr().out.partition("examples:")[2]
