"""A small study without synthetic text, which is cheap to run: its design, and a project that declares it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tiny_helper import ROOT, environment

from ablab.search import Budget, Float, NoPruning, Objective, RandomSampler, StudyDesign
from ablab.spec import Replicate
from experiments.scales import tiny


def small_design(**changes: Any) -> StudyDesign:
    """Learning rates of the tiny control recipe."""
    fields: dict[str, Any] = {
        "recipe": tiny(),
        "space": {"schedule.learning_rate": Float(low=1e-3, high=1e-2, log=True)},
        "objectives": (Objective(metric="perplexity", direction="minimize"),),
        "sampler": RandomSampler(seed=1),
        "pruner": NoPruning(),
        "budget": Budget(trials=3, hours=None, device_hours=None, failures_in_a_row=2),
        "replicates": (Replicate(train_seed=1, generation_seed=1),),
        "fresh": (Replicate(train_seed=8, generation_seed=8), Replicate(train_seed=9, generation_seed=9)),
    }
    return StudyDesign.model_validate(fields | changes)


STUDY = """
from ablab.search import *
from ablab.spec import Replicate, edit
from experiments.scales import tiny

STUDY = Study(
    name="rates",
    version=1,
    question="Which rate?",
    designs={{
        "tiny": StudyDesign(
            recipe=edit(tiny(), {{"schedule.steps": {steps}, {edits}}}),
            space={space},
            objectives=({objectives},),
            sampler=RandomSampler(seed=1),
            pruner=NoPruning(),
            checkpoint_pruner={checkpoint_pruner},
            budget=Budget({budget}),
            replicates=(Replicate(train_seed=1, generation_seed=1),),
            fresh=(Replicate(train_seed=8, generation_seed=8), Replicate(train_seed=9, generation_seed=9)),
        )
    }},
)
"""
PERPLEXITY = 'Objective(metric="perplexity", direction="minimize")'
REASONING = 'Objective(metric="reasoning", direction="maximize")'
RATES = '{"schedule.learning_rate": Categorical(choices=(5e-3, 2e-3))}'
BUDGET = "trials=3, hours=None, device_hours=None, failures_in_a_row=2"


def study_project(
    folder: Path,
    space: str = RATES,
    objectives: str = PERPLEXITY,
    edits: str = "",
    steps: int = 5,
    checkpoint_pruner: str = "NoPruning()",
    budget: str = BUDGET,
) -> Path:
    """A project whose only declaration is the study `rates` at scale tiny; the arguments are Python."""
    (folder / "experiments/studies").mkdir(parents=True)
    (folder / "ablations").mkdir()
    for name in ("__init__", "scales", "tinybabylm", "babylm_suites"):
        (folder / "experiments" / f"{name}.py").write_text((ROOT / "experiments" / f"{name}.py").read_text())
    text = STUDY.format(
        space=space, objectives=objectives, edits=edits, steps=steps, checkpoint_pruner=checkpoint_pruner, budget=budget
    )
    (folder / "experiments/studies/rates.py").write_text(text)
    return folder


def start_study(folder: Path, *arguments: str, **more: str) -> subprocess.Popen[str]:
    """`run-study rates --scale tiny` in that project, with one job."""
    code = "from ablab.cli.run_study import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, "rates", "--scale", "tiny", "--jobs", "1", *arguments],
        env=environment(folder / "home", ABLAB_PROJECT=str(folder), OMP_NUM_THREADS="1", **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit status, output and errors."""
    output, errors = process.communicate(timeout=500)
    return process.returncode, output, errors
