"""`ablab compare`: the comparison of whatever is finished, computed again from stored results."""

from __future__ import annotations

import argparse
import json

from ablab.analysis import render, write_files
from ablab.cli.common import console, edits_of, print_json
from ablab.cli.tables import print_corpora
from ablab.runner.corpora import corpora_table
from ablab.runner.prepare import prepare
from ablab.runner.results import compare_roles, results_folder, roles_of
from ablab.settings import load_settings


def compare(arguments: argparse.Namespace) -> None:
    """Print the comparison and write its files again."""
    settings = load_settings()
    prepared = prepare(settings, arguments.name, arguments.scale, edits_of(arguments.edits))
    roles = roles_of(prepared.plan)
    comparison = compare_roles(prepared.design, roles, prepared.store)
    corpora = corpora_table(roles, prepared.store)
    folder = results_folder(settings.home, prepared.label, prepared.scale, prepared.design_digest)
    write_files(comparison, folder)
    if arguments.json:
        print_json({"comparison": json.loads(comparison.to_json()), "corpora": corpora})
        return
    screen = console()
    render(comparison, screen)
    print_corpora(corpora, screen)
    print(f"\nTables: {folder}")
