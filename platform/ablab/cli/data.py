"""`ablab data list` and `ablab data fetch`: the corpora and suites of a design, and bringing what is not there."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ablab.cli.common import edits_of, print_json
from ablab.corpora.fetch import Fetched, fetch_sources
from ablab.corpora.fetch_inventory import BY_HAND, Item, list_items
from ablab.corpora.filecheck import FactCache
from ablab.errors import InputError, RunError
from ablab.registry.versions import resolve_name
from ablab.runner.line import ErrorLine, quantity
from ablab.settings import load_settings
from ablab.spec.ablation import design_faults
from ablab.spec.corpus import Source
from ablab.spec.recipe import Recipe
from ablab.spec.suites import LmEvalTasks


def data(arguments: argparse.Namespace) -> None:
    """List, or fetch and then list."""
    settings = load_settings()
    chosen = resolve_name(settings.project, arguments.name)
    design = chosen.ablation.design(arguments.scale).edited(edits_of(arguments.edits))
    faults = design_faults(design, f"{chosen.label} at {arguments.scale}")
    if faults:
        raise InputError(faults)
    recipes = list(design.recipes().values())
    fetched: list[Fetched] = []
    if arguments.action == "fetch":
        sources = [source for recipe in recipes for source in recipe.corpus.sources]
        fetched = [*_fetch(sources, settings.data, arguments.json), *_snapshots(recipes, settings.data)]
    items = list_items(recipes, settings.data, FactCache(settings.home / "digests.json"))
    if arguments.json:
        shown = {"label": chosen.label, "scale": arguments.scale, "data": str(settings.data)}
        rows = [{**asdict(item), "bytes": _total(item, "bytes"), "words": _total(item, "words")} for item in items]
        brought = [{"name": f.name, "files": [str(path) for path in f.files], "checked": f.checked} for f in fetched]
        print_json({**shown, "items": rows} | ({"fetched": brought} if arguments.action == "fetch" else {}))
    else:
        for one in fetched:
            print(f"{one.name}: {len(one.files)} file(s) fetched; {one.checked}")
        _print_items(items, settings.data)
    if arguments.action == "fetch":
        _by_hand(items)


def _fetch(sources: Sequence[Source], data: Path, silent: bool) -> list[Fetched]:
    if silent:
        return fetch_sources(sources, data, lambda *_: None)
    display = ErrorLine()
    try:
        return fetch_sources(sources, data, display)
    finally:
        display.close()


def _snapshots(recipes: Sequence[Recipe], data: Path) -> list[Fetched]:
    """Make the snapshots of lm-eval's tasks that are absent. Imports lm-eval where there are any such tasks."""
    listed = (suite for recipe in recipes for suite in recipe.evaluation.suites)
    suites = [suite for suite in listed if isinstance(suite, LmEvalTasks)]
    if not suites:
        return []
    from ablab.evaluate.snapshot import fetch_tasks

    return [Fetched(name, (path,), "a snapshot of what lm-eval loads now") for name, path in fetch_tasks(suites, data)]


def _by_hand(items: Sequence[Item]) -> None:
    """Raise RunError with every place that is still empty: nothing says where its content comes from."""
    lacking = []
    for item in items:
        files = item.missing()
        whole = item.role == "suite" and len(files) == len(item.files)
        paths = {item.path} if whole else {file.path: None for file in files}
        lacking += [f"{item.role} {item.name!r}: {path}" for path in paths if files]
    if lacking:
        raise RunError(
            "everything that has an address is there; the rest must be put there by hand:\n" + "\n".join(lacking)
        )


def _total(item: Item, field: str) -> int | None:
    """Sum over the files; None while one of them is not known."""
    values = [getattr(file, field) for file in item.files]
    return None if None in values or not values else sum(values)


def _print_items(items: Sequence[Item], data: Path) -> None:
    """Blocks rather than columns: paths and addresses must be copied whole."""
    print(f"ABLAB_DATA is {data}")
    for item in items:
        size, words = _total(item, "bytes"), _total(item, "words")
        counts = ["" if size is None else quantity(size, "B"), "" if words is None else f"{quantity(words)} words"]
        print("  ".join([f"{item.role:6}  {item.name:24}  {item.state:10}", *counts]).rstrip())
        places = [item.path] if item.path is not None else [file.path for file in item.files]
        if places:
            print(f"        lies in     {', '.join(_relative(path, data) for path in places)}")
        if item.state in ("missing", "unfinished"):
            print(f"        comes from  {', '.join(dict.fromkeys(file.origin for file in item.missing()))}")
        if 0 < len(item.missing()) < len(item.files):
            print(f"        lacks       {', '.join(_relative(file.path, data) for file in item.missing())}")
    if any(file.origin != BY_HAND for item in items for file in item.missing()):
        print("`ablab data fetch`, with the same name and scale, brings what has an address")


def _relative(path: str, data: Path) -> str:
    """Short where it lies under `ABLAB_DATA`."""
    return str(Path(path).relative_to(data)) if Path(path).is_relative_to(data) else path
