"""Whether this machine can compile models, and what to say where it cannot."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from ablab.models.size import compiling_pays
from ablab.runner.plan import Plan
from ablab.spec.placement import Numerics

REMEDY = "install a C++ compiler (g++) and Python's headers"


def can_compile() -> bool:
    """True where what torch compiles with is there."""
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    return shutil.which(compiler) is not None and Path(sysconfig.get_paths()["include"], "Python.h").is_file()


def compiling_fault(numerics: Numerics) -> list[str]:
    """That models are to be compiled, but cannot be here."""
    if numerics.compile == "never" or can_compile():
        return []
    return [f"--numerics compile={numerics.compile}: there is no C++ compiler here; {REMEDY}, or leave it out"]


def uncompiled_note(plan: Plan, numerics: Numerics) -> str:
    """What is lost for want of a compiler; empty where nothing is."""
    long = sum(
        planned.stage.kind == "train" and compiling_pays(planned.estimate.flops, numerics.device)
        for planned in plan.todo()
    )
    if not long or numerics.compile != "never" or can_compile():
        return ""
    return f"{long} long trainings are not compiled, and take about a fifth longer: {REMEDY}"
