"""Runs that ended without saying so: their process is dead, and nobody else can say it for them."""

from __future__ import annotations

from collections.abc import Mapping

from ablab.registry.process import Process, is_dead
from ablab.registry.registry import Registry
from ablab.store import Store
from ablab.store.executions import Execution, read_execution, read_executions, write_execution
from ablab.tracking import Tracker
from ablab.tracking.executions import EXECUTION_TAG
from ablab.tracking.stages import KEY_TAG, KIND_TAG, STAGES


def mark_interrupted(registry: Registry, store: Store) -> None:
    """Say of every running execution of this machine whose process is dead that it was interrupted.

    In the registry and in the store: either may lack an execution that the other knows.
    """
    registry.interrupt_dead()
    mark_in_store(store)


def mark_in_store(store: Store) -> None:
    """The same in the store alone."""
    for record in read_executions(store.root):
        if record.status != "running" or not is_dead(process_of(record)):
            continue
        last = read_execution(store.root, record.id)  # again: it may have ended properly since it was read
        if last.status == "running":
            write_execution(store.root, last.ended("interrupted", f"process {last.pid} on {last.host} died"))


def process_of(record: Execution) -> Process:
    """The process that recorded it."""
    return Process(record.host, record.machine, record.pid, record.process_started)


def end_runs(tracker: Tracker, store: Store) -> None:
    """Show in MLflow as killed what no process is at any more: a run that was killed whole told nobody.

    Executions that are marked as interrupted, and stages of this store; one that has finished becomes whole when an
    execution that needs it is published.
    """
    records = list(read_executions(store.root))
    interrupted = {record.id for record in records if record.status == "interrupted"}

    def abandoned(tags: Mapping[str, str]) -> bool:
        kind, key = tags.get(KIND_TAG, ""), tags.get(KEY_TAG, "")
        begun = bool(kind and key) and (store.work(key).is_dir() or store.has(kind, key))
        return tags.get(EXECUTION_TAG) in interrupted or (begun and not store.is_locked(key))

    tracker.end_abandoned([STAGES, *{record.ablation for record in records if not record.study}], abandoned)
