"""What holding compute or real passes does to the other quantity is printed, by `ablab show` and by the plan."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
EDIT = ("--scale", "tiny", "--set", "mixture.hold=real-passes")


def run(home: Path, module: str, *arguments: str) -> str:
    code = f"import sys; from ablab.cli.{module} import main; main()"
    environment = os.environ | {"ABLAB_HOME": str(home), "ABLAB_PROJECT": str(ROOT), "COLUMNS": "160"}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def rows(printed: str) -> dict[str, str]:
    """The table's lines by arm."""
    table = printed.partition("Training text by arm")[2].splitlines()[2:6]
    return {line.split()[0]: " ".join(line.split()) for line in table}


def test_show_and_plan_print_steps_tokens_and_passes_of_every_arm(tmp_path: Path) -> None:
    shown = run(tmp_path, "main", "show", "contrastive-vs-masked", *EDIT)
    planned = run(tmp_path, "run_ablation", "contrastive-vs-masked", *EDIT, "--plan")
    assert rows(shown) == rows(planned)
    assert rows(shown)["real-only"] == "real-only 0 compute 20 5.1k 1.00 x share 0 -"
    assert rows(shown)["contrastive"] == "contrastive 0.3 real-passes 30 7.7k 1.05 x share 0 1.15"


def test_the_plan_tells_programs_too(tmp_path: Path) -> None:
    planned = json.loads(run(tmp_path, "run_ablation", "contrastive-vs-masked", *EDIT, "--plan", "--json"))
    arm = planned["training_text"]["contrastive"]
    assert (arm["hold"], arm["steps"], arm["tokens"]) == ("real-passes", 30, 30 * 256)
