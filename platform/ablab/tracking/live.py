"""Trainings that go on, as runs of `ablab/stages`: fed from the lines that they write, completed when they are done.

A training writes one JSON line per step (`ablab.train.live`). What is read is kept here until MLflow has it; what
MLflow had before, from an earlier try of the same training, is not sent again.
"""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ablab.tracking.connection import load_mlflow
from ablab.tracking.runs import METRICS_PER_BATCH, STATUS, Point, RunSpec, upsert
from ablab.tracking.stages import (
    CURVE_METRICS,
    LIVE_METRICS,
    LOSS,
    curve_points,
    find_stage,
    params_of,
    run_name,
    tags_of,
)

CONTENT = "live"  # of a run that is not complete


@dataclass
class LiveRun:
    """One training that is followed."""

    key: str
    kind: str
    identity: Mapping[str, Any]
    label: str
    file: Path
    started_ms: int
    waiting: list[list[Point]] = field(default_factory=list)
    """Points that MLflow has not got yet, by step."""
    _reading: threading.Lock = field(default_factory=threading.Lock)
    """Held while `waiting` grows; it may, while its beginning is sent."""
    _open: io.BufferedReader | None = None
    _half_line: bytes = b""
    _steps: set[int] = field(default_factory=set)
    _run_id: str | None = None
    _complete: bool = False
    """MLflow has shown this training as finished before."""

    def read(self) -> None:
        """Take in what was written since the last time. Once opened, the file may be removed."""
        with self._reading:
            if self._open is None:
                try:
                    self._open = self.file.open("rb")
                except FileNotFoundError:
                    return
            if self._open.closed:
                return
            *lines, self._half_line = (self._half_line + self._open.read()).split(b"\n")
            for row in _rows(lines):
                if row["step"] not in self._steps:  # a resumed training repeats steps, with equal values
                    self._steps.add(row["step"])
                    self.waiting.append(list(curve_points(row, row["time_ms"])))

    @property
    def shown(self) -> bool:
        """MLflow has a run of it that is open."""
        return self._run_id is not None and not self._complete

    def close(self) -> None:
        """Read no more."""
        with self._reading:
            if self._open is not None:
                self._open.close()

    def send(self, client: Any, experiment_id: str) -> None:
        """Send what is waiting. What fails to arrive stays and is sent the next time."""
        if self._complete or not self.waiting:
            return
        known, self._run_id = self._run_id, None
        run_id = known or self._join(client, experiment_id)
        if known and client.get_run(run_id).info.status == STATUS["interrupted"]:
            client.update_run(run_id, status=STATUS["running"])  # by a command that did not know of this one
        metric = load_mlflow().entities.Metric
        while self.waiting and not self._complete:
            steps = self.waiting[: METRICS_PER_BATCH // max(map(len, self.waiting))]
            client.log_batch(run_id, [metric(p.name, p.value, p.time_ms, p.step) for step in steps for p in step])
            del self.waiting[: len(steps)]
        self._run_id = run_id  # known to be good: else it is looked up again

    def leave(self, client: Any, experiment_id: str) -> None:
        """The training has ended without a result: its run says so, until a later try goes on with it."""
        self.send(client, experiment_id)
        if self.shown:
            client.set_terminated(self._run_id, STATUS["interrupted"])

    def _join(self, client: Any, experiment_id: str) -> str:
        """Go on with the run of an earlier try, or make one."""
        found = find_stage(client, experiment_id, self.key)
        if found is not None and found.info.status == STATUS["finished"]:
            self._complete = True
            return str(found.info.run_id)
        run_id = upsert(client, experiment_id, found, self._spec())
        there = {metric.step for metric in client.get_metric_history(run_id, LOSS)}
        with self._reading:
            self.waiting = [step for step in self.waiting if step[0].step not in there]
        return run_id

    def _spec(self) -> RunSpec:
        return RunSpec(
            name=run_name(self.kind, self.label, self.key),
            content=CONTENT,
            status="running",
            started_ms=self.started_ms,
            finished_ms=None,
            params=params_of(self.identity),
            tags=tags_of(self.key, self.kind, self.identity),
            beside=CURVE_METRICS | LIVE_METRICS,
        )


def _rows(lines: list[bytes]) -> Iterator[dict[str, Any]]:
    """The objects of the lines; a kill may have left half of one."""
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        yield row
