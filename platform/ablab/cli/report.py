"""`ablab report`: one page of everything that was found, and the parts for a paper."""

from __future__ import annotations

import argparse
from pathlib import Path

from ablab.analysis.report import PAGE, build_report
from ablab.analysis.report.build import FIGURES, TABLES
from ablab.cli.common import edits_of, print_json
from ablab.errors import InputError
from ablab.registry.versions import resolve_name
from ablab.runner.prepare import open_store
from ablab.runner.recorded import (
    Recorded,
    compare_recorded,
    recorded_by_id,
    recorded_designs,
    report_material,
    runs_of,
)
from ablab.runner.results import results_folder
from ablab.settings import Settings, load_settings
from ablab.spec.canonical import canonical_json, digest
from ablab.store import Store
from ablab.store.executions import read_executions

FOLDER = "report"


def report(arguments: argparse.Namespace) -> None:
    """Build the report of a recorded design. The store is read; a stage that is found to be damaged is set aside."""
    out = Path(arguments.out) if arguments.out else None
    if out is not None:
        _check_out(out)
    settings = load_settings()
    store = open_store(settings)
    found = _chosen(arguments, settings, store)
    newest = found.newest
    comparison = compare_recorded(found, store)
    material = report_material(found, comparison, store, settings.project)
    default = results_folder(settings.home, newest.label, newest.scale, newest.design_digest) / FOLDER
    page = build_report(material, out or default)
    if arguments.json:
        print_json({"page": str(page), "folder": str(page.parent), "label": newest.label, "scale": newest.scale})
        return
    print(f"{newest.label} at {newest.scale}, {len(found.records)} run(s)")
    print(f"Page:    {page}")
    print(f"Figures: {page.parent / 'figures'}   (PDF, PNG, SVG)")
    print(f"Tables:  {page.parent / 'tables'}   (LaTeX, CSV)")


def _check_out(folder: Path) -> None:
    """A report replaces two folders whole: those beside an earlier report, and nobody else's."""
    there = [name for name in (FIGURES, TABLES) if (folder / name).exists()]
    if there and not (folder / PAGE).is_file():
        raise InputError(
            f"--out={folder} holds {' and '.join(there)} but no {PAGE}, and a report would replace them; name another "
            "folder"
        )


def _chosen(arguments: argparse.Namespace, settings: Settings, store: Store) -> Recorded:
    """The design of an execution by the first digits of its id, or a declared one with the given edits."""
    found = recorded_by_id(store, arguments.name)
    if found is not None:
        return found
    chosen = resolve_name(settings.project, arguments.name)
    design = chosen.ablation.design(arguments.scale).edited(edits_of(arguments.edits))
    every = read_executions(store.root)
    found = runs_of(chosen.ablation.name, arguments.scale, digest(design.canonical()), every)
    if found is None:
        raise InputError(_not_run(arguments, chosen.ablation.name, store))
    return found


def _not_run(arguments: argparse.Namespace, name: str, store: Store) -> str:
    """What was run instead, so that it can be asked for."""
    others = [one.newest for one in recorded_designs(store) if one.newest.ablation == name]
    what = f"{arguments.name} at {arguments.scale} was not run as it is declared" + (
        " with these edits" if arguments.edits else ""
    )
    if not others:
        return f"{what}, nor otherwise; run it first: run-ablation {arguments.name} --scale {arguments.scale}"
    listed = "; ".join(
        f"{one.id[:8]} ({one.label} at {one.scale}"
        + "".join(f" --set {path}={canonical_json(value)}" for path, value in sorted(one.edits.items()))
        + ")"
        for one in others
    )
    return f"{what}; these runs are recorded, and `ablab report ID` takes one: {listed}"
