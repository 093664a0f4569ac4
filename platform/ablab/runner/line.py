"""Progress on standard error: a line that is written over on a terminal, else a line every ten seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

LINE_EVERY_S, TERMINAL_EVERY_S = 10.0, 0.2
NAME_LENGTH = 60


class ErrorLine:
    """Called with what is worked on, how much of it is done, of how much (None: unknown), and the unit.

    quiet_s: nothing is said in the first so many seconds, nor of the end of what was not spoken of before.
    """

    def __init__(
        self, quiet_s: float = 0.0, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream or sys.stderr
        self._clock = clock
        self._quiet_s, self._born = quiet_s, clock()
        self._what = ""
        self._first = (0.0, 0)
        self._shown = -LINE_EVERY_S
        self._spoken = False  # of what is worked on
        self._open = False  # whether the line waits to be written over
        self._terminal = self._stream.isatty()

    def __call__(self, what: str, done: int, total: int | None, unit: str) -> None:
        now = self._clock()
        if what != self._what:
            self._what, self._first, self._spoken = what, (now, done), False
        ended = done == total
        if not self._is_due(now, ended):
            return
        self._shown, self._spoken, self._open = now, True, self._terminal and not ended
        start, end = "\r\x1b[K" if self._terminal else "", "" if self._open else "\n"
        print(f"{start}{self._line(done, total, unit, now)}", end=end, file=self._stream, flush=True)

    def close(self) -> None:
        """Leave the line for what is said next."""
        if self._open:
            print(file=self._stream)

    def _is_due(self, now: float, ended: bool) -> bool:
        if ended or (not self._spoken and not self._quiet_s):
            return self._spoken or not self._quiet_s
        every = TERMINAL_EVERY_S if self._terminal else LINE_EVERY_S
        return now - self._born >= self._quiet_s and now - self._shown >= every

    def _line(self, done: int, total: int | None, unit: str, now: float) -> str:
        began, before = self._first
        rate = (done - before) / max(now - began, 1e-9)
        shown = self._what if len(self._what) <= NAME_LENGTH else f"...{self._what[3 - NAME_LENGTH :]}"
        parts = [f"{shown}  {quantity(done)}" + (f" of {quantity(total)}" if total is not None else "") + f" {unit}"]
        if done > before:
            parts.append(f"{quantity(rate)}/s")
            if total is not None and done < total:
                parts.append(f"{duration((total - done) / rate)} left")
        return "  ".join(parts)


def quantity(value: float, unit: str = "") -> str:
    """1.2k, 3.4M, 5.6G, ... of a unit."""
    for limit, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.1f}{letter}{unit}"
    return f"{value:.0f}{unit}"


def duration(seconds: float) -> str:
    """12 s, 3.4 min, 5.6 h: about how long."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:,.1f} h"
