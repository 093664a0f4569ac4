"""Time from the start of a command to its first training step, for a corpus that is prepared, and where it goes.

    python -m experiments.benchmarks.first_step --json FILE [--scale tiny] [--repeats N]

The real-only arm is run once, which prepares corpus, tokenizer and tokens; then its training is removed and the same
run is started as often as asked for, in a new process each time, and ended at its first step. Wall seconds are those of
an idle machine only; processor seconds (of the command and all its processes) hold on a busy one as well.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.benchmarks.processes import family

NAME = "contrastive-vs-masked"
BEGAN = "FIRST_STEP_BEGAN"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="From the start of a command to its first training step.")
    parser.add_argument("--json", type=Path, required=True, help="where the figures go")
    parser.add_argument("--scale", default="tiny")
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "ABLAB_HOME": home}
        part = ["--scale", chosen.scale, "--arms", "real-only", "--replicates", "1", "--jobs", "1"]
        program = str(Path(sys.executable).with_name("run-ablation"))
        subprocess.run([program, NAME, *part], env=environment, check=True, stdout=subprocess.DEVNULL)
        found = [once(Path(home), chosen.scale, environment) for _ in range(chosen.repeats)]
    names = found[0]
    figures = {"median": {name: statistics.median(one[name] for one in found) for name in names}, "runs": found}
    chosen.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(figures["median"], indent=1))
    return 0


def once(home: Path, scale: str, environment: Mapping[str, str]) -> dict[str, float]:
    """Seconds to the marks of one run that has everything but its training."""
    for kind in ("train", "select", "evaluate"):
        shutil.rmtree(home / "store" / kind, ignore_errors=True)
    shutil.rmtree(home / "store" / ".work", ignore_errors=True)
    code = f"from experiments.benchmarks.first_step import command; command({scale!r})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, BEGAN: str(time.time())},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    marks: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return marks


def command(scale: str) -> None:
    """What the command does, with a display that tells when things happened and ends the run at the first step."""
    from ablab.runner.prepare import Part, prepare
    from ablab.runner.progress import View
    from ablab.runner.run import run_prepared
    from ablab.settings import load_settings

    began = float(os.environ[BEGAN])
    marks = {"imports of the command": time.time() - began}

    class Marks(View):
        def begin(self, plan: Any) -> None:  # noqa: ARG002
            marks["plan is recorded"] = time.time() - began

        def started(self, planned: Any) -> None:
            marks[f"{planned.stage.kind} is given to a worker"] = time.time() - began

        def progressed(self, planned: Any, event: Mapping[str, Any]) -> None:
            if planned.stage.kind != "train":
                return
            marks["first step is done"] = time.time() - began
            marks["processor seconds"] = sum(map(seconds_of, family(os.getpid())))
            print(json.dumps(marks), flush=True)
            sys.stdout.flush()
            for pid in list(family(os.getpid()))[1:]:
                os.kill(pid, 9)
            os._exit(0 if event else 1)

    settings = load_settings()
    prepared = prepare(settings, NAME, scale, {}, jobs=1, purpose="run", part=Part(arms=("real-only",), replicates=1))
    marks["plan is made"] = time.time() - began
    run_prepared(prepared, settings, Marks())


def seconds_of(pid: int) -> float:
    """Processor seconds of a process so far; 0 for one that is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
