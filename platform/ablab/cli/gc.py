"""`ablab gc`: what the store could do without, why, and how much room that is; removed with --apply."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ablab.cli.common import console, print_json
from ablab.errors import InputError, RunError
from ablab.registry.registry import Registry, open_registry
from ablab.registry.versions import all_pinned
from ablab.runner.garbage import WHY, Garbage, Item, find_garbage, remove
from ablab.runner.line import quantity
from ablab.runner.prepare import open_store
from ablab.runner.retention import Needs, find_needs
from ablab.search.going_on import is_running
from ablab.settings import Settings, load_settings
from ablab.store import Store
from ablab.store.executions import Execution, forget_execution, read_executions
from ablab.store.removal import collecting
from ablab.store.space import Space
from ablab.store.store import check_writable

SHOWN = 12  # items of a group; --json has them all


@dataclass(frozen=True)
class Found:
    """What one look at the store found."""

    executions: int = 0
    """Recorded runs that are kept in mind."""
    forgotten: tuple[Execution, ...] = ()
    needs: Needs = field(default_factory=Needs)
    garbage: Garbage = field(default_factory=Garbage)
    bytes: Mapping[Item, int] = field(default_factory=dict)
    """What each item frees."""
    held_elsewhere: int = 0


def gc(arguments: argparse.Namespace) -> None:
    """Show or remove. Nothing is touched without --apply."""
    settings = load_settings()
    store = open_store(settings)
    if not store.root.exists():
        if arguments.forget:
            raise InputError(f"--forget={arguments.forget[0]}: no run is recorded, there is no store {store.root}")
        _report(_summary(store, Found(), [], [], applied=False), arguments.json)
        return
    if arguments.apply:
        check_writable(store.root)
    notes: list[str] = []
    with (
        open_registry(settings.registry_url) as registry,
        collecting(store) if arguments.apply else contextlib.nullcontext(),
    ):
        found = _look(settings, store, registry, arguments.forget)
        done = _apply(store, found, notes) if arguments.apply else found.garbage.items
    _report(_summary(store, found, done, notes, applied=arguments.apply), arguments.json)


def _look(settings: Settings, store: Store, registry: Registry, forget: Sequence[str]) -> Found:
    records = list(read_executions(store.root))
    forgotten = _forgotten(records, forget, registry)
    ids = {record.id for record in forgotten}
    kept = [record for record in records if record.id not in ids]
    needs = find_needs(store, kept, all_pinned(settings.project), settings)
    garbage = find_garbage(store, needs, registry)
    space = Space()
    sizes = {item: space.freed(*item.paths) for item in garbage.items}
    return Found(len(kept), tuple(forgotten), needs, garbage, sizes, space.held_elsewhere())


def _forgotten(records: Sequence[Execution], wanted: Sequence[str], registry: Registry) -> list[Execution]:
    """The runs that are meant. Raises one `InputError` for ids that mean none or several, or a running one."""
    chosen: dict[str, Execution] = {}
    faults: list[str] = []
    for id_ in wanted:
        found = [record for record in records if id_ and record.id.startswith(id_)]
        if len(found) != 1:
            faults.append(f"--forget={id_}: {len(found)} runs have an id that begins so; `ablab status` lists them")
        elif is_running(found[0], registry):
            faults.append(f"--forget={id_}: this run is going on (process {found[0].pid} on {found[0].host}); end it")
        else:
            chosen[found[0].id] = found[0]
    if faults:
        raise InputError(faults)
    return list(chosen.values())


def _apply(store: Store, found: Found, notes: list[str]) -> list[Item]:
    """Forget and remove. The records go first: one never needs what is not there any more."""
    try:
        for record in found.forgotten:
            forget_execution(store.root, record.id)
        return remove(store, found.garbage.items, notes.append)
    except OSError as error:
        raise RunError(
            f"removing stopped: {error}", "what is removed stays removed; free the cause and run `ablab gc` again"
        ) from error


def _summary(
    store: Store, found: Found, items: Sequence[Item], notes: Sequence[str], *, applied: bool
) -> dict[str, Any]:
    """The result as JSON: `items` are those that were removed, or that would be."""
    groups = []
    for group, why in WHY.items():
        rows = [_row(item, found.bytes[item]) for item in items if item.group == group]
        if rows:
            groups.append({"group": group, "why": why, "bytes": sum(row["bytes"] for row in rows), "items": rows})
    return {
        "store": str(store.root),
        "applied": applied,
        "executions": found.executions,
        "forgotten": [record.id for record in found.forgotten],
        "groups": groups,
        "bytes": sum(group["bytes"] for group in groups),
        "held_elsewhere": found.held_elsewhere,
        "busy": found.garbage.busy,
        "notes": [*found.needs.notes, *notes],
    }


def _row(item: Item, size: int) -> dict[str, Any]:
    return {
        "what": item.what,
        "kind": item.kind,
        "key": item.key,
        "step": item.step,
        "bytes": size,
        "paths": [str(path) for path in item.paths],
    }


def _report(summary: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(summary)
        return
    from rich.table import Table
    from rich.text import Text

    did = "removed" if summary["applied"] else "would remove"
    table = Table(box=None, pad_edge=False)
    for name, side in ((did, "left"), ("frees", "right"), ("why", "left")):
        table.add_column(name, justify=side, overflow="fold")  # type: ignore[arg-type]
    for group in summary["groups"]:
        for row in group["items"][:SHOWN]:
            table.add_row(Text(row["what"]), quantity(row["bytes"], "B"), Text(group["why"]))
        if more := group["items"][SHOWN:]:
            size = sum(row["bytes"] for row in more)
            table.add_row(f"{len(more)} more like these (--json)", quantity(size, "B"), Text(group["why"]))
    if summary["groups"]:
        console().print(table)
    for line in _lines(summary):
        console().print(Text(line))


def _lines(summary: dict[str, Any]) -> Iterator[str]:
    """What stands below the table."""
    count = sum(len(group["items"]) for group in summary["groups"])
    applied = summary["applied"]
    for note in summary["notes"]:
        yield f"note: {note}"
    for busy in summary["busy"]:
        yield f"left: {busy}: a process is at it"
    if summary["held_elsewhere"]:
        yield f"{quantity(summary['held_elsewhere'], 'B')} of this have other names (MLflow's models) and stay there"
    for execution in summary["forgotten"]:
        yield f"run {execution[:12]}: {'forgotten' if applied else 'would be forgotten'}"
    kept = f"what {_number(summary['executions'], 'recorded run')} and the pinned versions need stays"
    if not count and not summary["forgotten"]:
        yield f"nothing to remove in {summary['store']}; {kept}"
    elif applied:
        yield f"removed {_number(count, 'thing')}, freed {quantity(summary['bytes'], 'B')}; {kept}"
    else:
        yield f"{_number(count, 'thing')}, {quantity(summary['bytes'], 'B')}; {kept}"
        yield "nothing was touched; the same command with --apply removes them"


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
