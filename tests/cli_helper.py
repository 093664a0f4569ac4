"""Commands in this process, with a home and a project of their own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from tiny_helper import ROOT

from ablab.cli import main, run_ablation, run_study

PROGRAMS: Mapping[str, Callable[[], None]] = {
    "ablab": main.main,
    "run-ablation": run_ablation.main,
    "run-study": run_study.main,
}
Invoke = Callable[..., tuple[int, str, str]]
"""Exit code, output and errors of a command."""


def call(program: str, *arguments: str) -> int:
    """Exit code of a command in this process."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "argv", [program, *arguments])
        PROGRAMS[program]()
    return int(ended.value.code or 0)


def settle(monkeypatch: pytest.MonkeyPatch, home: Path, project: Path = ROOT) -> None:
    """Let commands know this home and project, and no settings of whoever started the tests."""
    for variable in [name for name in os.environ if name.startswith(("ABLAB_", "MLFLOW_"))]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("ABLAB_PROJECT", str(project))
    monkeypatch.setenv("ABLAB_HOME", str(home))
