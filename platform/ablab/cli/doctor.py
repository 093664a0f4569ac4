"""`ablab doctor`: is everything here that a run needs?"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict

from ablab.cli.checks import Check, TrainingProbe, machine_checks
from ablab.cli.checks_places import place_checks
from ablab.cli.common import console, print_json
from ablab.settings import Settings, load_settings

COLOURS = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(arguments: argparse.Namespace) -> int:
    """One line per check, each with its remedy. Exit code 1 when something failed; a warning does not count."""
    settings = load_settings()
    checks = []
    for check in _checks(settings):
        checks.append(check)
        if not arguments.json:
            _print(check)
    states = [check.state for check in checks]
    if arguments.json:
        print_json({"checks": [asdict(check) for check in checks], "failed": states.count("fail")})
    elif set(states) == {"ok"}:
        print("\nNothing is wrong.")
    else:
        print(f"\n{states.count('fail')} failed, {states.count('warn')} warnings")
    return int("fail" in states)


def _checks(settings: Settings) -> Iterator[Check]:
    with TrainingProbe() as probe:  # it starts first and is waited for last: importing torch takes seconds
        yield from machine_checks(settings)
        yield from place_checks(settings)
        yield from probe.checks()


def _print(check: Check) -> None:
    from rich.text import Text

    remedy = f"; {check.remedy}" if check.remedy else ""
    line = Text.assemble((f"{check.state:5}", COLOURS[check.state]), (f"{check.name:9}", "bold"), check.found, remedy)
    console().print(line, soft_wrap=True)
