"""`ablab claims`: verdicts of every claim over all ablations and scales that have results."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator
from typing import Any

from ablab.cli.common import console, print_json
from ablab.errors import AblabError
from ablab.runner.prepare import open_store
from ablab.runner.recorded import Recorded, claim_records, compare_recorded, has_results, recorded_designs
from ablab.settings import Settings, load_settings
from ablab.spec.canonical import canonical_json
from ablab.store import Store
from ablab.store.executions import read_executions

HOW = (
    "Pinned before results: a run recorded itself under a pinned version that holds the claim, before the first\n"
    "evaluation began that completes a pair of its arms, and before a run with such a pair finished; else written\n"
    "afterwards."
)


def claims(arguments: argparse.Namespace) -> int:
    """One block per design. What cannot be compared (exit code 2) or is damaged (1) is named in its place."""
    settings = load_settings()
    store = open_store(settings)
    errors: list[tuple[str, AblabError]] = []
    found = list(_designs(settings, store, errors))
    faults = [f"{where}: {line}" for where, error in errors for line in str(error).splitlines()]
    if arguments.json:
        print_json({"designs": found, "faults": faults, "how": HOW.replace("\n", " ")})
    else:
        _print(found)
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    return min((error.exit_code for _, error in errors), default=0)


def _designs(settings: Settings, store: Store, errors: list[tuple[str, AblabError]]) -> Iterator[dict[str, Any]]:
    records = [record for record in read_executions(store.root) if not record.study]  # a trial has no claims
    for one in recorded_designs(store, records):
        if not has_results(one.roles, store):
            continue
        try:
            claims = _claims(one, settings, store)
        except AblabError as error:  # of this design; the others are shown all the same
            errors.append((f"{one.newest.label} at {one.newest.scale}", error))
            claims = None
        yield {
            "ablation": one.newest.ablation,
            "label": one.newest.label,
            "scale": one.newest.scale,
            "execution": one.newest.id,
            "design_digest": one.newest.design_digest,
            "edits": dict(one.newest.edits),
            "replicates": len(one.design.replicates),
            "claims": claims,
        }


def _claims(one: Recorded, settings: Settings, store: Store) -> list[dict[str, Any]]:
    comparison = compare_recorded(one, store)
    records = claim_records(one, store, settings.project)
    return [
        dataclasses.asdict(claim) | {"pinned": records[claim.id].status, "pinned_why": records[claim.id].why}
        for claim in comparison.claims
    ]


def _print(found: list[dict[str, Any]]) -> None:
    from rich.padding import Padding
    from rich.text import Text

    from ablab.analysis.table import VERDICT_STYLES

    screen = console()
    if not found:
        print("No ablation has results; `run-ablation NAME` runs one.")
        return
    for one in found:
        last = f"last run {one['execution'][:8]}"
        screen.print(Text(f"{one['label']} at {one['scale']}, {one['replicates']} replicates, {last}", style="bold"))
        if one["edits"]:
            edits = ", ".join(f"{path}={canonical_json(value)}" for path, value in sorted(one["edits"].items()))
            screen.print(Padding(Text(f"edited: {edits}", style="dim"), (0, 0, 0, 2), expand=False))
        if one["claims"] is None:
            told = "its claims cannot be told: see the error below"
            screen.print(Padding(Text(told, style="red"), (0, 0, 0, 2), expand=False))
        for claim in one["claims"] or ():
            words = Text(claim["words"])
            words.stylize(VERDICT_STYLES[claim["verdict"]], 0, len(claim["verdict"]))
            screen.print(Padding(Text(f"{claim['id']}: {claim['statement']}"), (0, 0, 0, 2), expand=False))
            screen.print(Padding(words, (0, 0, 0, 4), expand=False))
            record = f"{claim['pinned']}: {claim['pinned_why']}"
            screen.print(Padding(Text(record, style="dim"), (0, 0, 0, 4), expand=False))
        screen.print()
    screen.print(Text(HOW, style="dim"))
