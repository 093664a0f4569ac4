"""`StageContext`: everything that the implementation of a stage kind is given, and all it may touch."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ablab.spec.placement import Numerics

LIVE_FILE = "live.jsonl"
"""In `work`: what a training tells people while it goes on (`ablab.train.live`)."""

LOOKS = "looks"
"""In `work` of a `curve`: what was found at checkpoints so far, some of it while the training went on."""

RESUMABLE = ("resume/step-*", "shards/*.shard", f"{LOOKS}/*.look")
"""In `work`: what a stage goes on from, each complete once it has its name. Without any of it a stage begins anew."""


class Progress(Protocol):
    """Called as often as convenient; throttled by the receiver. Counts are of `unit`, absolute."""

    def __call__(self, done: int, total: int, unit: str, note: str = "") -> None: ...


def silent(done: int, total: int, unit: str, note: str = "") -> None:
    """A progress that shows nothing."""


class Measured(Protocol):
    """Called at every checkpoint of a training, after what resuming needs is written, with what was measured there.

    A resumed training tells again what an earlier attempt has measured.
    """

    def __call__(self, step: int, values: Mapping[str, float]) -> None: ...


def unheard(step: int, values: Mapping[str, float]) -> None:
    """Measured values that nobody waits for."""


@dataclass(frozen=True)
class StageContext:
    """`fn(ctx) -> result`: reads `inputs`, writes files under `out`, returns what becomes `result.json`.

    What is written and returned must follow from params, inputs and numerics alone (no clock, no paths, no
    speeds): equal identity and numerics give equal bytes. Speeds go to `costs`.
    """

    key: str
    params: Mapping[str, Any]
    """The stage's own hashed parameters."""
    inputs: Mapping[str, Path]
    """Finished, verified stage directories by input name; read-only."""
    locations: Mapping[str, Path]
    """Files of the user by the SHA-256 that is in `params`; read-only, to be checked while reading."""
    out: Path
    """Empty directory for the stage's files. It is thrown away if this attempt does not finish."""
    work: Path
    """Private directory that survives a kill: what resuming needs (`RESUMABLE`), and until there is some of it nothing
    that a later try may rely on. Removed when the stage is finished."""
    numerics: Numerics
    progress: Progress
    costs: dict[str, float]
    """Filled by the implementation with what the manifest records: tokens, flops, tokens_per_second, ..."""
    measured: Measured = unheard
    record: dict[str, Any] = field(default_factory=dict)
    """Filled by the implementation with what the manifest says beside: settings that follow from the numerics."""
    hostfile: Path | None = None
    """Machines that a training is spread over; execution as well."""
    generation_workers: int = 1
    """Processes that may decode one corpus together; execution, so it cannot change a bit."""
    looks: tuple[StageContext, ...] = ()
    """Of a training: the stages `curve` that wait for it, whose own `train` and `out` are not there yet. Their suites
    are scored at checkpoints while it goes on (`spec.stages.LOOK`); execution as well."""


def implementation(name: str) -> Callable[..., Any]:
    """The function that is named as `module:function`. Imports its module."""
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found
