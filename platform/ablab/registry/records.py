"""What the registry takes and gives: plain frozen records, free of any database session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from ablab.registry.process import Process

Status = Literal["running", "finished", "failed", "interrupted"]
StageState = Literal["complete", "failed"]


@dataclass(frozen=True)
class VersionRecord:
    """A pinned version of an ablation."""

    name: str
    version: int
    digest: str
    spec: Mapping[str, Any]
    """The whole ablation as JSON-like data."""


@dataclass(frozen=True)
class ExecutionStage:
    """A stage in one role of one arm and replicate (position in the design, from 0)."""

    arm: str
    replicate: int
    role: str
    key: str


@dataclass(frozen=True)
class NewExecution:
    """What is known when a run starts."""

    ablation: str
    """Label: `name@<n>` or `name@dev`."""
    scale: str
    spec_digest: str
    spec: Mapping[str, Any]
    """The edited design as JSON-like data."""
    edits: Mapping[str, Any]
    """What `--set` changed, by path."""
    placement: Mapping[str, Any]
    process: Process
    code_version: str
    code_commit: str
    """Git commit of the code, '+' behind it when files were changed; empty if unknown."""


@dataclass(frozen=True)
class ExecutionRecord(NewExecution):
    """One run."""

    id: str
    status: Status
    started_at: datetime
    finished_at: datetime | None
    message: str


@dataclass(frozen=True)
class StageRecord:
    """A stage that was computed, or whose last attempt failed."""

    key: str
    kind: str
    state: StageState
    seconds: float
    bytes: int
    costs: Mapping[str, Any]
    computed_by: str
    """Execution id; empty if unknown."""
    finished_at: datetime
    message: str = ""


@dataclass(frozen=True)
class KindCosts:
    """Sum over the finished stages of one kind."""

    stages: int
    seconds: float
    bytes: int


@dataclass(frozen=True)
class Owner:
    """Who asks for a lease: an execution, in the process that will send the heartbeats."""

    execution: str
    process: Process


@dataclass(frozen=True)
class Lease:
    """The right to compute one stage. It is lost when the token in the database is another one."""

    key: str
    token: str


@dataclass(frozen=True)
class Holder:
    """Who has a lease now."""

    owner: Owner
    held_seconds: float
    silent_seconds: float
    """Since the last heartbeat."""
