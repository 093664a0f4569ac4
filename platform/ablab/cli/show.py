"""`ablab list` and `ablab show`."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ablab.cli.amounts import print_amounts
from ablab.cli.common import console, edits_of, print_json
from ablab.cli.studies import print_studies, show_study, study_rows
from ablab.errors import InputError
from ablab.registry.declarations import load_declarations
from ablab.registry.versions import load_pinned, pinned_names, pinned_numbers, resolve_name
from ablab.search.declared import is_study
from ablab.settings import load_settings
from ablab.spec.ablation import Design, design_faults
from ablab.spec.canonical import canonical_json
from ablab.spec.edit import dump


def list_ablations(arguments: argparse.Namespace) -> int:
    """Every ablation and study; broken declarations are named, and make the exit code 2."""
    settings = load_settings()
    project = settings.project
    declarations = load_declarations(project)
    rows = []
    for name in sorted({*declarations.ablations, *pinned_names(project)}):
        numbers = pinned_numbers(project, name)
        loaded = declarations.ablations.get(name)
        ablation = loaded.ablation if loaded else load_pinned(project, name, numbers[-1]).ablation
        rows.append(
            {
                "name": name,
                "version": ablation.version,
                "pinned": numbers,
                "scales": list(ablation.designs),
                "question": ablation.question,
            }
        )
    studies, study_faults = study_rows(settings)
    faults = [*declarations.faults, *study_faults]
    if arguments.json:
        print_json({"ablations": rows, "studies": studies, "faults": faults})
    else:
        _print_list(rows)
        if studies:
            print()
            print_studies(studies)
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    return InputError.exit_code if faults else 0


def _print_list(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in ("name", "version", "pinned", "scales", "question"):
        table.add_column(column, no_wrap=column in ("name", "version"))
    for row in rows:
        pinned = ", ".join(f"@{number}" for number in row["pinned"]) or "-"
        cells = (row["name"], str(row["version"]), pinned, ", ".join(row["scales"]), row["question"])
        table.add_row(*map(Text, cells))
    console().print(table)


def show(arguments: argparse.Namespace) -> None:
    """One design: its control recipe, what each arm edits, replicates, claims; or space and trials of a study."""
    settings = load_settings()
    if is_study(settings.project, arguments.name.partition("@")[0]):
        if arguments.edits:
            raise InputError("--set edits an ablation; of a study edit the declaration")
        show_study(settings, arguments.name, arguments.scale, arguments.json)
        return
    chosen = resolve_name(settings.project, arguments.name)
    design = chosen.ablation.design(arguments.scale).edited(edits_of(arguments.edits))
    faults = design_faults(design, f"{chosen.label} at {arguments.scale}")
    if arguments.json:
        print_json(
            {
                "label": chosen.label,
                "scale": arguments.scale,
                "question": chosen.ablation.question,
                "design": dump(design),
                "arms": {name: dump(recipe) for name, recipe in design.recipes().items()},
                "drift": chosen.drift,
            }
        )
    else:
        _print_design(chosen.label, chosen.ablation.question, arguments.scale, design)
    if faults:
        raise InputError(faults)


def _print_design(label: str, question: str, scale: str, design: Design) -> None:
    from rich.text import Text

    screen = console()
    screen.print(Text(f"{label} at {scale}", "bold"))
    screen.print(Text(question))
    screen.print(Text(f"\ncontrol {design.control}", "bold"))
    for path, value in _leaves(dump(design.recipe)):
        screen.print(Text(f"  {path} = {canonical_json(value)}"), soft_wrap=True)
    for arm in design.arms:
        offset = f" (seeds + {arm.seed_offset})" if arm.seed_offset else ""
        screen.print(Text(f"\narm {arm.name}, edits of {arm.of or design.control}{offset}", "bold"))
        for path, value in arm.edits.items():
            for leaf, inner in _leaves({path: value}):
                screen.print(Text(f"  {leaf} = {canonical_json(inner)}"), soft_wrap=True)
    print_amounts(design.recipes(), screen)
    screen.print(Text("\nreplicates (train seed, generation seed)", "bold"))
    screen.print(Text("  " + ", ".join(f"({r.train_seed}, {r.generation_seed})" for r in design.replicates)))
    screen.print(Text("\nclaims", "bold"))
    for claim in design.claims:
        screen.print(Text(f"  {claim.id}: {claim.statement}"))
        screen.print(
            Text(
                f"    {claim.metric} of {claim.arm} {claim.direction} than {claim.against} by more than "
                f"{claim.margin:g}; they differ in {claim.factor} alone",
                "dim",
            )
        )


def _leaves(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            found += _leaves(value, f"{prefix}{key}.")
        else:
            found.append((prefix + key, value))
    return found
