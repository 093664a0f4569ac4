"""Read commands and plans import none of the heavy libraries."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_helper import ROOT, environment

HEAVY = ("torch", "transformers", "datasets", "mlflow", "deepspeed", "lm_eval", "optuna")
NAME = "contrastive-vs-masked"

CODE = """
import json, sys
from ablab.cli import main, run_ablation
program, *arguments = json.loads(sys.argv[1])
sys.argv = [program, *arguments]
try:
    run_ablation.main() if program == "run-ablation" else main.main()
except SystemExit as ended:
    code = ended.code or 0
print("\\nloaded", json.dumps([code, [name for name in {heavy!r} if name in sys.modules]]))
"""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["ablab", "list"], 0),
        (["ablab", "show", NAME], 0),
        (["ablab", "diff", f"{NAME}:ancestral", f"{NAME}:contrastive"], 0),
        (["ablab", "status"], 0),
        (["ablab", "data", "list", NAME, "--scale", "paper"], 0),
        (["ablab", "claims"], 0),
        (["ablab", "report", NAME], 2),
        (["ablab", "compare", NAME], 2),  # no result is stored here; it looks for them all the same
        (["run-ablation", NAME, "--plan"], 0),
        (["run-ablation", NAME, "--scale", "paper", "--plan"], 0),
    ],
)
def test_read_commands_import_no_heavy_library(arguments: list[str], expected: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(heavy=HEAVY), json.dumps(arguments)],
        env=environment(tmp_path / "home"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout.rpartition("loaded ")[2]) == [expected, []], done.stderr


def test_the_folder_platform_does_not_hide_the_standard_library() -> None:
    code = "import platform, ablab; print(platform.python_version(), ablab.__file__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    version, file = done.stdout.split()
    assert version == ".".join(map(str, sys.version_info[:3]))
    assert Path(file).is_relative_to(ROOT / "platform")
    assert not (ROOT / "platform" / "__init__.py").exists()
