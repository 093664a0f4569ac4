"""How a run is placed on this machine, or on those of a hostfile, and whether they have what it needs."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

from ablab.errors import InputError, collecting
from ablab.runner.compiling import can_compile, compiling_fault
from ablab.spec.edit import edit
from ablab.spec.hostfile import parse_hostfile
from ablab.spec.placement import Numerics, Placement

MAX_JOBS, JOBS_PER_CORE = 8, 4


def default_placement(
    jobs: int | None, numerics: Mapping[str, Any], generation_workers: int = 1, hostfile: str = ""
) -> Placement:
    """One worker per core (one per GPU, or for all machines of a hostfile), threads divided among them; `numerics`
    overrides single fields. The processes of a generation divide the threads of its worker."""
    device = "cuda" if has_gpu() else "cpu"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if jobs is None:
        jobs = 1 if device == "cuda" or hostfile else min(cores, MAX_JOBS)
    faults: list[str] = []
    if jobs < 1:
        faults.append(f"--jobs={jobs} must be at least 1")
    elif jobs > JOBS_PER_CORE * cores:
        faults.append(f"--jobs={jobs} is too many for {cores} cores; use at most {JOBS_PER_CORE * cores}")
    if generation_workers < 1:
        faults.append(f"--generation-workers={generation_workers} must be at least 1")
    base = Numerics(threads=max(1, cores // max(1, jobs)), device=device, compile="long" if can_compile() else "never")
    with collecting(faults):
        base = edit(base, {path: _read_settings(path, value) for path, value in numerics.items()}, "--numerics")
    with collecting(faults):
        base = _on_hosts(base, Path(hostfile)) if hostfile else base
    faults += compiling_fault(base)
    if faults:
        raise InputError(faults)
    if generation_workers > 1 and base.generation_threads is None:
        base = base.model_copy(update={"generation_threads": max(1, base.threads // generation_workers)})
    return Placement(jobs=jobs, hostfile=hostfile or None, generation_workers=generation_workers, numerics=base)


def _read_settings(path: str, value: Any) -> Any:
    """The content of a JSON file that stands in place of settings for DeepSpeed."""
    if path != "deepspeed" or not isinstance(value, str):
        return value
    try:
        return json.loads(Path(value).read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"--numerics deepspeed={value}: not a file of JSON that can be read ({error})") from error


def _on_hosts(numerics: Numerics, hostfile: Path) -> Numerics:
    """A process for every slot of the machines."""
    try:
        slots = sum(parse_hostfile(hostfile.read_text(encoding="utf-8"), str(hostfile)).values())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"ABLAB_HOSTFILE={hostfile} cannot be read ({error}); correct it or unset it") from error
    if numerics.ranks not in (None, slots):
        raise InputError(
            f"--numerics ranks={numerics.ranks} must be the {slots} slots of {hostfile}; leave it out or change them"
        )
    return numerics.model_copy(update={"ranks": slots})


def has_gpu() -> bool:
    """True where this process may use a GPU."""
    return gpus() > 0


def gpus() -> int:
    """How many GPUs this process may use, without asking a driver."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = sum(1 for path in Path("/dev").glob("nvidia*") if path.name.removeprefix("nvidia").isdigit())
    named = None if visible is None else takewhile(lambda name: name.strip() not in ("", "-1"), visible.split(","))
    return found if named is None else min(found, sum(1 for _ in named))  # CUDA too stops at what is no GPU


def check_machine(placement: Placement) -> None:
    """Raises `InputError` without DeepSpeed, or for a device, or a number of them, that this process does not see."""
    if importlib.util.find_spec("deepspeed") is None:
        raise InputError(
            "training needs the package deepspeed, which is not installed; pip install 'deepspeed>=0.19.8'"
        )
    numerics, there = placement.numerics, gpus()
    kind, _, index = numerics.device.partition(":")
    needed = int(index) + 1 if index else 1 if placement.hostfile else numerics.ranks or 1
    if kind != "cuda" or there >= needed:
        return
    given = f"--numerics device={numerics.device}" + (f" ranks={numerics.ranks}" if numerics.ranks else "")
    if there == 0:
        raise InputError(f"{given}: this process sees no GPU; leave it out to run on the CPU")
    fewer = f"device=cuda:{there - 1}" if index else f"ranks={there}"
    raise InputError(f"{given}: this process sees {there} GPUs, not {needed}; use {fewer}")
