"""`ablab compare`: the comparison of whatever is finished, computed again from stored results."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from ablab.analysis import render, write_files
from ablab.analysis.across import Source, compare_across
from ablab.analysis.apart import arms_apart
from ablab.analysis.corpora import corpora_table
from ablab.cli.common import console, edits_of, print_json
from ablab.cli.tables import print_apart, print_corpora
from ablab.errors import InputError, collecting
from ablab.runner.prepare import open_store, prepare
from ablab.runner.recorded import prepared_roles, recorded_by_id
from ablab.runner.results import compare_roles, evaluated, results_folder
from ablab.settings import Settings, load_settings
from ablab.spec.ablation import Design
from ablab.store import Store
from ablab.store.executions import Roles


def compare(arguments: argparse.Namespace) -> None:
    """Print the comparison and write its files again; several designs are set side by side and only printed."""
    settings = load_settings()
    store = open_store(settings)
    edits = edits_of(arguments.edits)
    if arguments.others:
        _across(arguments, settings, store, edits)
        return
    label, scale, design, roles, digest = _found(arguments.name, arguments.scale, settings, store, edits)
    comparison = compare_roles(design, roles, store)
    corpora, apart = corpora_table(roles, store), arms_apart(list(roles), roles, store)
    folder = results_folder(settings.home, label, scale, digest)
    write_files(comparison, folder)
    if arguments.json:
        told = {"comparison": json.loads(comparison.to_json()), "corpora": corpora}
        print_json(told | {"apart": [one.to_json() for one in apart]})
        return
    screen = console()
    render(comparison, screen)
    print_corpora(corpora, screen)
    print_apart(apart, screen)
    print(f"\nTables: {folder}")


def _across(arguments: argparse.Namespace, settings: Settings, store: Store, edits: Mapping[str, Any]) -> None:
    sources: list[Source] = []
    faults: list[str] = []
    for name in (arguments.name, *arguments.others):
        with collecting(faults):
            label, scale, design, roles, _ = _found(name, arguments.scale, settings, store, edits)
            sources.append(Source(label, scale, design, evaluated(design, roles, store)))
    if faults:
        raise InputError(faults)
    comparison = compare_across(sources)
    if arguments.json:
        print_json({"comparison": json.loads(comparison.to_json())})
        return
    render(comparison, console())


def _found(
    name: str, scale: str, settings: Settings, store: Store, edits: Mapping[str, Any]
) -> tuple[str, str, Design, Roles, str]:
    """Label, scale, design, stages and digest of what a name means: a run by its id, or a declared design."""
    found = recorded_by_id(store, name)
    if found is not None:
        newest = found.newest
        return f"{newest.label}~{newest.id[:8]}", newest.scale, found.design, found.roles, newest.design_digest
    prepared = prepare(settings, name, scale, edits)
    roles = prepared_roles(prepared)
    return prepared.label, prepared.scale, prepared.design, roles, prepared.design_digest
