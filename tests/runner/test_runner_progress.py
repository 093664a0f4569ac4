"""What a run shows: rate and remaining time, on a terminal and without one."""

from __future__ import annotations

import io
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from stages_helper import corpus_stage, small_plan, suite_stage, tokenizer_stage

from ablab.runner import progress
from ablab.runner.plan import Plan
from ablab.runner.progress import LiveView, PlainView, View, clock, make_view
from ablab.store import Store


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=made.monotonic))
    return made


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Corpus, tokenizer, suite; nothing is there."""
    return small_plan(Store(tmp_path), tokenizer_stage(), suite_stage())


@pytest.fixture
def output() -> io.StringIO:
    return io.StringIO()


def begun(plan: Plan, output: io.StringIO) -> View:
    view = make_view(Console(file=output, width=120))
    assert isinstance(view, PlainView)
    view.begin(plan)
    return view


def report(done: int, total: int, unit: str = "step", note: str = "") -> dict[str, object]:
    return {"done": done, "total": total, "unit": unit, "note": note}


def test_without_a_terminal_lines_tell_rate_and_remaining_time(plan: Plan, output: io.StringIO, seconds: Clock) -> None:
    view, corpus = begun(plan, output), plan.stages[corpus_stage().key]
    view.started(corpus)
    view.progressed(corpus, report(0, 4_000, note="loss 6.00"))
    seconds.now += 20
    view.progressed(corpus, report(1_000, 4_000, note="loss 2.10"))
    view.tick()
    assert output.getvalue() == "  corpus · real-only r1: 1,000/4,000 steps  50/s  1:00 left  loss 2.10\n"
    view.finished(corpus)
    done = output.getvalue().splitlines()[1]
    assert done.startswith(
        f"done corpus · real-only r1 ({corpus.key[:12]}) 20.0 s   [1/3 stages  0:20 elapsed  about 0:"
    )
    assert "\x1b" not in output.getvalue(), "no control characters in a log"


def test_progress_lines_come_every_ten_seconds_however_often_a_stage_reports(
    plan: Plan, output: io.StringIO, seconds: Clock
) -> None:
    view, corpus = begun(plan, output), plan.stages[corpus_stage().key]
    view.started(corpus)
    for done in range(250):  # 25 seconds
        view.progressed(corpus, report(done, 1_000))
        view.tick()
        seconds.now += 0.1
    assert len(output.getvalue().splitlines()) == 2


def test_the_rate_of_a_resumed_stage_counts_what_this_run_does(plan: Plan, output: io.StringIO, seconds: Clock) -> None:
    view, corpus = begun(plan, output), plan.stages[corpus_stage().key]
    view.started(corpus)
    seconds.now += 5  # imports
    view.progressed(corpus, report(9_000, 10_000))
    seconds.now += 10
    view.progressed(corpus, report(9_100, 10_000))
    view.tick()
    assert "9,100/10,000 steps  10/s  1:30 left" in output.getvalue()


def test_units_are_told_in_the_plural_once(plan: Plan, output: io.StringIO, seconds: Clock) -> None:
    view, corpus = begun(plan, output), plan.stages[corpus_stage().key]
    view.started(corpus)
    view.progressed(corpus, report(5, 10, "words"))
    seconds.now += 20
    view.tick()
    assert "5/10 words" in output.getvalue()
    assert "wordss" not in output.getvalue()


def test_a_failed_stage_is_told_and_not_counted_as_complete(plan: Plan, output: io.StringIO) -> None:
    view, corpus, suite = begun(plan, output), plan.stages[corpus_stage().key], plan.stages[suite_stage().key]
    for one in (corpus, suite):
        view.started(one)
    view.stopped(corpus)
    view.failed(corpus, "no space [left] on device")
    view.finished(suite)
    lines = output.getvalue().splitlines()
    assert lines[0] == f"FAILED corpus · real-only r1 ({corpus.key[:12]}): no space [left] on device"
    assert "[1/3 stages" in lines[1]


def test_a_stage_that_stopped_is_shown_no_more(plan: Plan, output: io.StringIO, seconds: Clock) -> None:
    view, corpus = begun(plan, output), plan.stages[corpus_stage().key]
    view.started(corpus)
    view.stopped(corpus)
    seconds.now += 20
    view.tick()
    assert output.getvalue() == ""


def test_on_a_terminal_bars_stand_above_one_line_for_the_run(plan: Plan, output: io.StringIO) -> None:
    view = make_view(Console(file=output, width=120, force_terminal=True))
    assert isinstance(view, LiveView)
    view.begin(plan)
    corpus, suite = plan.stages[corpus_stage().key], plan.stages[suite_stage().key]
    try:
        for one in (corpus, suite):
            view.started(one)
        view.progressed(corpus, report(10, 40))
        view.tick()
        time.sleep(0.6)  # the display is drawn four times a second
        view.finished(suite)
        view.stopped(corpus)
        view.failed(corpus, "[bold]its own words[/bold]")
        view.note("a note")
        view.tick()
    finally:
        view.end()
    shown = output.getvalue()
    for text in ("10/40 steps", "1/3 stages", "✓", "✗", "[bold]its own words[/bold]", "a note"):
        assert text in shown
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1, "the cursor is back"


@pytest.mark.parametrize(("value", "text"), [(0, "0:00"), (65, "1:05"), (3_599.6, "1:00:00"), (7_384, "2:03:04")])
def test_durations_read_as_clocks(value: float, text: str) -> None:
    assert clock(value) == text
