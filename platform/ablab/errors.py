"""The two ways in which ablab fails, and the exit code of each.

`InputError`: what the user gave cannot be used; found before anything is computed; exit code 2.
`RunError`: a run that had begun failed; exit code 1; the message says how to resume.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager


class AblabError(Exception):
    """Base of every error that ablab raises on purpose; `exit_code` is what a command exits with."""

    exit_code = 1


class InputError(AblabError):
    """Bad input. Holds every fault found, each one line: rule, value, remedy."""

    exit_code = 2

    def __init__(self, faults: str | Iterable[str]) -> None:
        self.faults: tuple[str, ...] = (faults,) if isinstance(faults, str) else tuple(faults)
        super().__init__("\n".join(self.faults))


class RunError(AblabError):
    """A run failed after it had begun. What was finished is kept; `remedy` says how to go on."""

    def __init__(self, message: str, remedy: str = "") -> None:
        self.remedy = remedy
        super().__init__(f"{message}\n{remedy}" if remedy else message)


@contextmanager
def collecting(faults: list[str]) -> Iterator[None]:
    """Adds the faults of an `InputError` to `faults` and goes on behind the block."""
    try:
        yield
    except InputError as error:
        faults += [fault for fault in error.faults if fault not in faults]


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """A phrase with the nearest known names, or all of them when none is near."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if near:
        return "did you mean " + " or ".join(repr(n) for n in near) + "?"
    return "known: " + (", ".join(known) if known else "none")
