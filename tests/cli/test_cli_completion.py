"""Shell completion, by a real bash."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from tiny_helper import ROOT, command, environment

NAME = "contrastive-vs-masked"
COMPLETE = """
eval "$(ablab completion bash)"
COMP_LINE="$1"; COMP_POINT=${#1}; COMP_TYPE=9; COMP_KEY=9
read -ra COMP_WORDS <<< "$1"
[[ "$1" == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_python_argcomplete "${COMP_WORDS[0]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def offered(tmp_path: Path, require: Callable[[str, str], NoReturn]) -> Callable[[str], set[str]]:
    """What bash offers for a line that is typed so far."""
    bash = shutil.which("bash")
    if bash is None:
        require("bash", "bash is not installed")
    found = environment(tmp_path / "home")
    found["PATH"] = f"{Path(sys.executable).parent}:{found['PATH']}"

    def ask(line: str) -> set[str]:
        done = subprocess.run(
            [bash, "--norc", "-c", COMPLETE, "bash", line], env=found, capture_output=True, text=True, check=True
        )
        return {word.strip() for word in done.stdout.splitlines() if word.strip()}

    return ask


def test_bash_completes_commands_names_versions_scales_and_arms(offered: Callable[[str], set[str]]) -> None:
    assert {"compare", "completion", "claims"} <= offered("ablab c")
    assert offered("run-ablation contr") == {NAME}
    assert {"1", "dev"} <= offered(f"run-ablation {NAME}@")  # an @ begins a new word for bash
    assert offered(f"run-ablation {NAME} --scale s") == {"smoke", "small"}
    assert offered(f"run-ablation {NAME} --arms ancestral,m") == {"ancestral,masked-only"}
    assert {"--replicates", "--numerics"} <= offered(f"run-ablation {NAME} --")
    assert offered("run-study r") == {"ratio-truncation"}
    assert {"tiny", "smoke"} <= offered("run-study ratio-truncation --scale ")
    assert offered("ablab show perp") == {"perplexity-reasoning"}
    assert "dev" in offered("run-study ratio-truncation@")
    assert offered("ablab show ratio-truncation --scale ti") == {"tiny"}
    assert offered("ablab status rat") == {"ratio-truncation"}


def test_completing_imports_no_heavy_library(tmp_path: Path) -> None:
    code = (
        "import os, sys; from ablab.cli import run_ablation\n"
        "sys.argv = ['run-ablation']\n"
        "import argcomplete; argcomplete.autocomplete(run_ablation.parser(), exit_method=lambda _: None, "
        "output_stream=sys.stdout)\n"
        "print('\\nloaded', {'torch', 'transformers', 'datasets', 'mlflow', 'optuna', 'deepspeed'} & {*sys.modules})"
    )
    line = "run-ablation contr"
    asked = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_SUPPRESS_SPACE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(tmp_path, **asked), capture_output=True, text=True, cwd=ROOT
    )
    assert (NAME in done.stdout, done.stdout.splitlines()[-1]) == (True, "loaded set()"), done.stderr


@pytest.mark.parametrize(("shell", "said"), [("bash", "complete "), ("zsh", "compdef"), ("fish", "complete ")])
def test_every_shell_is_given_its_own_code_for_all_three_programs(shell: str, said: str) -> None:
    done = subprocess.run(command("ablab", "completion", shell), capture_output=True, text=True, check=True)
    assert said in done.stdout
    assert all(program in done.stdout for program in ("ablab", "run-ablation", "run-study"))
