"""`ablab status`: runs, the stages of one run, the trials of a study."""

from __future__ import annotations

import argparse
from typing import Any

from ablab.cli.common import console, print_json
from ablab.cli.studies import trial_rows
from ablab.errors import InputError
from ablab.registry.registry import Registry, open_registry
from ablab.runner.interrupted import mark_interrupted
from ablab.runner.line import quantity
from ablab.runner.prepare import open_store
from ablab.search.declared import is_study
from ablab.settings import load_settings
from ablab.store import Store
from ablab.store.executions import Execution, read_executions


def status(arguments: argparse.Namespace) -> None:
    """Every run with its progress, every stage of one, or every trial of a study."""
    settings = load_settings()
    store = open_store(settings)
    with open_registry(settings.registry_url) as registry:
        mark_interrupted(registry, store)
        records = list(read_executions(store.root))
        if arguments.execution is None:
            rows = [_run_row(record, store) for record in records]
            _print(rows, arguments.json, "no run yet; try: run-ablation contrastive-vs-masked")
            return
        found = [record for record in records if record.id.startswith(arguments.execution)]
        if not found or is_study(settings.project, arguments.execution):  # a run's id needs no study database
            trials = trial_rows(settings, arguments.execution)
            if trials is not None:
                _print(trials, arguments.json, "no trial yet")
                return
        if len(found) != 1:
            raise InputError(
                f"{len(found)} runs have an id that begins with {arguments.execution!r}; `ablab status` lists them"
            )
        _print(_stage_rows(found[0], store, registry), arguments.json, "the run has no stages")


def _run_row(record: Execution, store: Store) -> dict[str, Any]:
    stages = _stages(record)
    return {
        "execution": record.id[:12],
        "ablation": record.label,
        "scale": record.scale,
        "status": record.status,
        "stages": f"{sum(store.has(kind, key) for kind, key in stages)}/{len(stages)}",
        "started": record.started_at,
        "finished": record.finished_at or "",
        "edits": record.edits or "",
        "message": record.message.splitlines()[0] if record.message else "",
    }


def _stage_rows(record: Execution, store: Store, registry: Registry) -> list[dict[str, Any]]:
    known = registry.stage_records(key for _, key in _stages(record))
    rows = []
    for (kind, key), uses in _stages(record).items():
        entry = known.get(key)
        holder = registry.holder(key)
        state = "complete" if store.has(kind, key) else "running" if holder else "failed" if entry else "waiting"
        rows.append(
            {
                "stage": kind,
                "key": key[:12],
                "state": state,
                "used by": uses,
                "seconds": entry.seconds if entry else None,
                "bytes": entry.bytes if entry else None,
                "message": entry.message.splitlines()[0] if entry and entry.message else "",
            }
        )
    return rows


def _stages(record: Execution) -> dict[tuple[str, str], str]:
    """Every stage of a run and the first arm that uses it."""
    found: dict[tuple[str, str], str] = {}
    for arm, replicates in record.roles.items():
        for position, roles in enumerate(replicates):
            for stage in roles.values():
                found.setdefault(stage, f"{arm} r{position + 1}")
    return found


def _print(rows: list[dict[str, Any]], as_json: bool, empty: str) -> None:
    if as_json:
        print_json(rows)
        return
    if not rows:
        print(empty)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    shown = [{name: _text(name, value) for name, value in row.items()} for row in rows]
    columns = [name for name in rows[0] if any(row[name] for row in shown)]
    for name in columns:
        long = name in ("edits", "message")
        # ids are there to be copied: whatever else is narrow, they are whole
        table.add_column(
            name, no_wrap=not long, overflow="fold", min_width=12 if name in ("execution", "key") else None
        )
    for row in shown:
        table.add_row(*(Text(row[name]) for name in columns))
    console().print(table)


def _text(name: str, value: Any) -> str:
    """A value for people; empty where there is none."""
    if value is None:
        return ""
    if name == "values":
        return ", ".join(f"{metric} {one:.4g}" for metric, one in value.items())
    if name == "bytes":
        return quantity(value, "B")
    return f"{value:.1f}" if isinstance(value, float) else str(value)
