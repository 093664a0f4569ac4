"""What `ablab doctor` finds out about this machine: Python, packages, DeepSpeed, devices, settings, disk."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import ablab
from ablab.errors import did_you_mean
from ablab.runner.machine import has_gpu
from ablab.settings import Settings

State = Literal["ok", "warn", "fail"]

PROBE_SECONDS = 300.0  # a training process needs 5 to 8 s to start on an idle core
VARIABLES = {
    *("ABLAB_PROJECT", "ABLAB_HOME", "ABLAB_STORE", "ABLAB_REGISTRY_URL", "ABLAB_DATA", "ABLAB_EWOK_PASSWORD"),
    *("ABLAB_STUDY_URL", "ABLAB_HOSTFILE"),
    *("ABLAB_REQUIRE", "ABLAB_SHARED_DATA", "ABLAB_BROWSER_HOME"),  # of the tests
}
FULL_GB, LOW_GB = 0.5, 5.0  # the demonstration writes 0.1 GB


@dataclass(frozen=True)
class Check:
    """One line: what was looked at, how it is, and what to do about it."""

    name: str
    state: State
    found: str
    remedy: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    """For `--json`."""


def machine_checks(settings: Settings) -> Iterator[Check]:
    """Everything but the places where things lie, and training (`TrainingProbe`)."""
    yield from package_checks(*requirements())
    yield setting_check(os.environ)
    yield disk_check(settings)


def requirements() -> tuple[str, list[str]]:
    """The range of Python and the requirements that ablab states, installed or in its source folder."""
    source = Path(ablab.__file__).parents[2] / "pyproject.toml"
    if source.is_file():
        project = tomllib.loads(source.read_text(encoding="utf-8"))["project"]
        return project["requires-python"], project["dependencies"]
    stated = importlib.metadata.metadata("ablab")
    return stated["Requires-Python"], importlib.metadata.requires("ablab") or []


def package_checks(python: str, stated: Iterable[str]) -> Iterator[Check]:
    """Python and every required package against the ranges."""
    running = ".".join(map(str, sys.version_info[:3]))
    usable = SpecifierSet(python).contains(running)
    remedy = "" if usable else f"ablab needs Python {python}: make an environment with a newer one"
    yield Check("python", "ok" if usable else "fail", f"{running} at {sys.executable}", remedy)
    needed = [one for one in map(Requirement, stated) if one.marker is None or one.marker.evaluate({"extra": ""})]
    versions = {one.name: _installed(one.name) for one in needed}
    wrong = [one for one in needed if not _fits(one, versions[one.name])]
    details = {"versions": versions}
    if wrong:
        found = ", ".join(f"{one.name} is {versions[one.name] or 'not installed'}" for one in wrong)
        install = " ".join(f"'{one.name}{one.specifier}'" for one in wrong)
        yield Check("packages", "fail", found, f"{sys.executable} -m pip install {install}", details)
    else:
        yield Check("packages", "ok", f"{len(needed)} of {len(needed)} in the range that ablab states", "", details)


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _fits(requirement: Requirement, version: str | None) -> bool:
    return version is not None and requirement.specifier.contains(version, prereleases=True)


def setting_check(environment: Mapping[str, str]) -> Check:
    """A variable with a typing error would be ignored in silence."""
    given = sorted(name for name in environment if name.startswith("ABLAB_"))
    unknown = [name for name in given if name not in VARIABLES]
    if unknown:
        hints = "; ".join(f"{name}: {did_you_mean(name, sorted(VARIABLES))}" for name in unknown)
        return Check("settings", "warn", f"{', '.join(unknown)}: no such setting, so it is ignored", hints)
    return Check("settings", "ok", ", ".join(given) + " set" if given else "all at their defaults")


def disk_check(settings: Settings) -> Check:
    """Free space wherever ablab writes."""
    places = {"ABLAB_HOME": settings.home}
    if "://" not in settings.store:
        places["ABLAB_STORE"] = Path(settings.store)
    free = {name: shutil.disk_usage(nearest(place)).free / 1e9 for name, place in places.items()}
    name, least = min(free.items(), key=lambda item: item[1])
    found = f"{least:,.1f} GB free at {nearest(places[name])}"
    if least >= LOW_GB:
        return Check("disk", "ok", found)
    remedy = f"free some, or set {name} to another disk; `ablab gc` shows what the store could do without"
    return Check("disk", "fail" if least < FULL_GB else "warn", found, remedy)


def nearest(path: Path) -> Path:
    """The path itself, or the nearest folder above it that exists."""
    return next(place for place in (path, *path.parents) if place.exists())


class TrainingProbe:
    """A process that takes real training steps (`ablab.train.probe`); ended when the block is left."""

    def __init__(self, device: str | None = None, seconds: float = PROBE_SECONDS) -> None:
        self._device = device or ("cuda" if has_gpu() else "cpu")
        self._seconds = seconds

    def __enter__(self) -> TrainingProbe:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ablab.train.probe", self._device],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def checks(self) -> Iterator[Check]:
        """Wait for it: one line about training, one about devices."""
        try:
            output, errors = self._process.communicate(timeout=self._seconds)
        except subprocess.TimeoutExpired:
            found = f"no step on {self._device} within {self._seconds:.0f} s"
            yield Check(
                "training",
                "fail",
                found,
                "try again when the machine is idle; then read the output of: " + self._by_hand,
            )
            return
        seen = _last_object(output)
        if self._process.returncode:
            said = [line.strip() for line in errors.splitlines() if line.strip()]
            cause = said[-1] if said else f"it ended with {self._process.returncode}"
            found = f"no step on {self._device}: {seen.get('fault', cause)}"
            yield Check("training", "fail", found, seen.get("remedy", f"read the whole output of: {self._by_hand}"))
            return
        yield training_check(self._device, seen)
        yield device_check(self._device, seen)

    @property
    def ended(self) -> bool:
        """The process is no more."""
        return self._process.poll() is not None

    @property
    def _by_hand(self) -> str:
        return f"{sys.executable} -m ablab.train.probe {self._device}"


def _last_object(output: str) -> dict[str, Any]:
    """The JSON object that a probe prints last; empty where it ended before."""
    last = output.strip().rpartition("\n")[2]
    found: dict[str, Any] = json.loads(last) if last.startswith("{") else {}
    return found


def training_check(device: str, seen: Mapping[str, Any]) -> Check:
    """What a probe that ended well says."""
    steps = " and ".join(seen["losses"])
    found = f"DeepSpeed {seen['deepspeed']}, torch {seen['torch']}: steps in {steps} on {device}, no compiler needed"
    return Check("training", "ok", found, "", {"losses_nats": seen["losses"], "seconds": seen["seconds"]})


def device_check(device: str, seen: Mapping[str, Any]) -> Check:
    """Cores and GPUs, and whether a run would take them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    gpus = ", ".join(f"{gpu['name']} ({gpu['bytes'] / 2**30:.0f} GiB)" for gpu in seen["gpus"])
    found = f"{cores} CPU cores, " + (f"{gpus}, CUDA {seen['cuda']}" if gpus else "no GPU")
    details = {"cores": cores, "gpus": seen["gpus"]}
    if gpus and device == "cpu":
        remedy = "torch sees a GPU that a run would not take by itself: add --numerics device=cuda"
        return Check("devices", "warn", found, remedy, details)
    return Check("devices", "ok", f"{found}; a run takes {device}", "", details)
