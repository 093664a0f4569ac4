"""What a run shows while it works: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ablab.runner.plan import Plan, PlannedStage

PLAIN_INTERVAL_S = 10.0


class View:
    """Hears what happens in a run, and shows nothing: the null object, and the base of the displays."""

    def begin(self, plan: Plan) -> None:
        """A run begins."""

    def started(self, planned: PlannedStage) -> None:
        """A worker was given a stage."""

    def progressed(self, planned: PlannedStage, event: Mapping[str, Any]) -> None:
        """A stage told how far it is: done, total, unit, note."""

    def finished(self, planned: PlannedStage) -> None:
        """A stage is complete, computed here or elsewhere."""

    def stopped(self, planned: PlannedStage) -> None:
        """A worker is through with a stage that is not complete: it failed, or is taken up again later."""

    def failed(self, planned: PlannedStage, message: str) -> None:
        """A stage failed."""

    def note(self, text: str) -> None:
        """Something a person should know."""

    def tick(self) -> None:
        """Called several times a second."""

    def end(self) -> None:
        """The run is over, however it ended."""


@dataclass
class _Running:
    title: str
    began: float
    first: tuple[float, int] | None = None  # when it was first heard of and how far it was: a resumed one begins late
    done: int = 0
    total: int = 0
    unit: str = ""
    note: str = ""

    def progress(self, event: Mapping[str, Any]) -> None:
        self.done, self.total = event["done"], event["total"]
        self.unit, self.note = event["unit"], event["note"]
        self.first = self.first or (time.monotonic(), self.done)

    @property
    def fraction(self) -> float:
        return min(1.0, self.done / self.total) if self.total else 0.0

    def rate(self) -> float:
        """Units per second in this run; 0 until two reports tell it."""
        if self.first is None:
            return 0.0
        when, before = self.first
        return (self.done - before) / max(time.monotonic() - when, 1e-9)

    def text(self) -> str:
        """'1,200/4,000 steps  31/s  1:30 left  loss 2.1'."""
        if not self.total:
            return "starting"
        rate = self.rate()
        speed = (
            f"{rate:,.{0 if rate >= 10 else 1}f}/s  {clock((self.total - self.done) / rate)} left" if rate > 0 else ""
        )
        counts = f"{self.done:,}/{self.total:,} {self.unit.removesuffix('s')}s"
        return "  ".join(part for part in (counts, speed, self.note) if part)


@dataclass
class _State:
    """Counts and remaining time, shared by both displays."""

    weights: dict[str, float] = field(default_factory=dict)
    running: dict[str, _Running] = field(default_factory=dict)
    complete: set[str] = field(default_factory=set)
    began: float = 0.0

    def begin(self, plan: Plan) -> None:
        self.weights = {planned.key: planned.estimate.seconds for planned in plan.todo()}
        self.complete = set()
        self.began = time.monotonic()

    def start(self, planned: PlannedStage) -> None:
        self.weights.setdefault(planned.key, planned.estimate.seconds)
        self.running[planned.key] = _Running(planned.title, time.monotonic())

    def progress(self, planned: PlannedStage, event: Mapping[str, Any]) -> None:
        row = self.running.get(planned.key)
        if row is not None:
            row.progress(event)

    def finish(self, planned: PlannedStage) -> float:
        """Seconds since the stage was started here (0 for one that another process finished)."""
        row = self.running.pop(planned.key, None)
        self.complete.add(planned.key)
        return time.monotonic() - row.began if row else 0.0

    def line(self) -> str:
        """'12/49 stages  1:02 elapsed  about 2:10 left'."""
        elapsed = time.monotonic() - self.began
        total = sum(self.weights.values())
        done = sum(self.weights.get(key, 0.0) for key in self.complete)
        done += sum(self.weights.get(key, 0.0) * row.fraction for key, row in self.running.items())
        left = f"about {clock(elapsed * (total - done) / done)} left" if done > 0.02 * total else "estimating"
        return f"{len(self.complete)}/{len(self.weights)} stages  {clock(elapsed)} elapsed  {left}"


class _Display(View):
    def __init__(self, console: Console) -> None:
        self._console, self._state = console, _State()

    def begin(self, plan: Plan) -> None:
        self._state.begin(plan)

    def started(self, planned: PlannedStage) -> None:
        self._state.start(planned)

    def progressed(self, planned: PlannedStage, event: Mapping[str, Any]) -> None:
        self._state.progress(planned, event)

    def stopped(self, planned: PlannedStage) -> None:
        self._state.running.pop(planned.key, None)


class PlainView(_Display):
    """One line per event, and a line of progress every ten seconds for each long stage."""

    _last = 0.0

    def begin(self, plan: Plan) -> None:
        super().begin(plan)
        self._last = time.monotonic()

    def finished(self, planned: PlannedStage) -> None:
        seconds = self._state.finish(planned)
        self.note(f"done {planned.title} ({planned.key[:12]}) {seconds:.1f} s   [{self._state.line()}]")

    def failed(self, planned: PlannedStage, message: str) -> None:
        self.note(f"FAILED {planned.title} ({planned.key[:12]}): {message}")

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def tick(self) -> None:
        if time.monotonic() - self._last >= PLAIN_INTERVAL_S:
            self._last = time.monotonic()
            for row in self._state.running.values():
                self.note(f"  {row.title}: {row.text()}")


class LiveView(_Display):
    """A bar for every running stage above one line for the whole run; finished stages scroll away above."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._live = Live(console=console, refresh_per_second=4, transient=True)

    def begin(self, plan: Plan) -> None:
        super().begin(plan)
        self._live.start()

    def finished(self, planned: PlannedStage) -> None:
        seconds = self._state.finish(planned)
        self._console.print(Text.assemble(("✓ ", "green"), planned.title, (f"  {seconds:.1f} s", "dim")))

    def failed(self, planned: PlannedStage, message: str) -> None:
        self._console.print(Text.assemble(("✗ ", "bold red"), planned.title, "  ", message))

    def note(self, text: str) -> None:
        self._console.print(Text(text, "yellow"))

    def tick(self) -> None:
        table = Table.grid(padding=(0, 2))
        for row in self._state.running.values():
            bar = ProgressBar(total=1.0, completed=row.fraction, width=24)
            table.add_row(Text(row.title, no_wrap=True), bar, Text(row.text(), "cyan", no_wrap=True))
        self._live.update(Group(table, Text(self._state.line(), "bold")))

    def end(self) -> None:
        self._live.stop()


def make_view(console: Console) -> View:
    """The display that suits where the output goes."""
    return LiveView(console) if console.is_terminal else PlainView(console)


def clock(seconds: float) -> str:
    """'1:05' or '2:03:04'."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"
