"""`ablab report`: one page of everything that was found, and the parts for a paper."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from ablab.analysis.report import build_report
from ablab.cli.common import edits_of, print_json
from ablab.errors import InputError
from ablab.registry.versions import resolve_name
from ablab.runner.prepare import open_store
from ablab.runner.recorded import Recorded, compare_recorded, recorded, recorded_designs, report_material
from ablab.runner.results import results_folder
from ablab.settings import Settings, load_settings
from ablab.spec.canonical import canonical_json, digest
from ablab.store import Store
from ablab.store.executions import read_executions

FOLDER = "report"
_ID = re.compile(r"[0-9a-f]{4,64}")


def report(arguments: argparse.Namespace) -> None:
    """Build the report of a recorded design; the store is only read."""
    settings = load_settings()
    store = open_store(settings)
    found = _chosen(arguments, settings, store)
    newest = found.newest
    comparison = compare_recorded(found, store)
    material = report_material(found, comparison, store, settings.project)
    default = results_folder(settings.home, newest.label, newest.scale, newest.design_digest) / FOLDER
    page = build_report(material, Path(arguments.out) if arguments.out else default)
    if arguments.json:
        print_json({"page": str(page), "folder": str(page.parent), "label": newest.label, "scale": newest.scale})
        return
    print(f"{newest.label} at {newest.scale}, {len(found.records)} run(s)")
    print(f"Page:    {page}")
    print(f"Figures: {page.parent / 'figures'}   (PDF, PNG, SVG)")
    print(f"Tables:  {page.parent / 'tables'}   (LaTeX, CSV)")


def _chosen(arguments: argparse.Namespace, settings: Settings, store: Store) -> Recorded:
    """The design of an execution by the first digits of its id, or a declared one with the given edits."""
    every = list(read_executions(store.root))
    if _ID.fullmatch(arguments.name):
        matching = [record for record in every if record.id.startswith(arguments.name)]
        if len(matching) > 1:
            raise InputError(f"more than one execution begins with {arguments.name}; `ablab status` lists them")
        if matching:
            one = matching[0]
            identity = (one.ablation, one.scale, one.design_digest)
            return recorded([r for r in every if (r.ablation, r.scale, r.design_digest) == identity])
    chosen = resolve_name(settings.project, arguments.name)
    design = chosen.ablation.design(arguments.scale).edited(edits_of(arguments.edits))
    wanted = (chosen.ablation.name, arguments.scale, digest(design.canonical()))
    same = [record for record in every if (record.ablation, record.scale, record.design_digest) == wanted]
    if not same:
        raise InputError(_not_run(arguments, chosen.ablation.name, store))
    return recorded(same)


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
