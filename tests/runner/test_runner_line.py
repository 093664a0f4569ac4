"""The line of progress on standard error."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from ablab.errors import InputError
from ablab.runner import prepare
from ablab.runner.line import ErrorLine
from ablab.settings import load_settings


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """Stands still until it is set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_short_reading_is_not_spoken_of(clock: Clock) -> None:
    out = io.StringIO()
    line = ErrorLine(2.0, out, clock)
    for done in (0, 50, 100):
        clock.now += 0.6
        line("reading a", done, 100, "B")
    line.close()
    assert out.getvalue() == ""


def test_a_long_reading_tells_its_rate_and_what_is_left(clock: Clock) -> None:
    out = io.StringIO()
    line = ErrorLine(2.0, out, clock)
    line("reading a", 0, 8_000_000, "B")
    clock.now += 4.0
    line("reading a", 2_000_000, 8_000_000, "B")
    clock.now += 1.0
    line("reading a", 2_500_000, 8_000_000, "B")  # no two lines within ten seconds
    clock.now += 11.0
    line("reading a", 8_000_000, 8_000_000, "B")
    line("reading b", 5, 5, "B")  # was done before a word was said of it
    assert out.getvalue().splitlines() == [
        "reading a  2.0M of 8.0M B  500.0k/s  12.0 s left",
        "reading a  8.0M of 8.0M B  500.0k/s",
    ]


def test_on_a_terminal_the_line_is_written_over_and_ended(clock: Clock) -> None:
    out = Terminal()
    line = ErrorLine(0.0, out, clock)
    line("a", 0, None, "B")
    clock.now += 1.0
    line("a", 10, None, "B")
    line.close()
    assert out.getvalue() == "\r\x1b[Ka  0 B\r\x1b[Ka  10 B  10/s\n"


def test_faults_are_told_behind_the_line_of_what_was_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(prepare, "QUIET_S", 0.0)
    with pytest.raises(InputError), prepare.resolver_of(load_settings(tmp_path)) as resolver:
        resolver._facts.heard("reading a", 0, 8, "B")
        raise InputError("a is no text")
    assert terminal.getvalue() == "\r\x1b[Kreading a  0 of 8 B\n"
