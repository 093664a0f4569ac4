"""`--json`: every command that reads offers it, and prints nothing but one JSON document on standard output."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_helper import Invoke, call, settle

from ablab.cli import run_ablation, run_study
from ablab.cli.main import parser

NAME = "contrastive-vs-masked"
WRITING = {"lock", "reindex", "ui", "init", "new", "completion"}
"""Commands that change something or go on for long: they print for people alone."""
READING = {
    "list": ["list"],
    "show": ["show", NAME],
    "diff": ["diff", f"{NAME}:ancestral", f"{NAME}:contrastive"],
    "status": ["status"],
    "claims": ["claims"],
    "schema": ["schema", "recipe"],
    "gc": ["gc"],
    "data": ["data", "list", NAME],
    "publish": ["publish"],
}
"""What needs no results; the others are held where results are: comparing, reporting, checking the machine."""
WITH_RESULTS = {"compare", "report", "power", "doctor"}


def commands() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every `ablab` command."""
    for action in parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def test_every_command_that_reads_offers_json() -> None:
    offering = {name for name, one in commands() if "--json" in one._option_string_actions}
    assert {name for name, _ in commands()} == offering | WRITING
    assert offering == set(READING) | WITH_RESULTS
    assert "--json" in run_ablation.parser()._option_string_actions
    assert "--json" in run_study.parser()._option_string_actions


@pytest.fixture(autouse=True)
def _empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(monkeypatch, tmp_path / "home")


@pytest.mark.parametrize("arguments", READING.values(), ids=READING.keys())
def test_json_is_all_that_is_printed(arguments: list[str], ablab: Invoke) -> None:
    code, out, err = ablab(*arguments, "--json")
    assert code == 0, err
    json.loads(out)


@pytest.mark.parametrize(("program", "name"), [("run-ablation", NAME), ("run-study", "ratio-truncation")])
def test_plans_are_json_as_well(program: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(program, name, "--plan", "--json") == 0
    json.loads(capsys.readouterr().out)
