"""Runs that ended without saying so: their process is dead, and nobody else can say it for them."""

from __future__ import annotations

from ablab.registry.process import Process, is_dead
from ablab.registry.registry import Registry
from ablab.store import Store
from ablab.store.executions import read_execution, read_executions, write_execution


def mark_interrupted(registry: Registry, store: Store) -> None:
    """Say of every running execution of this machine whose process is dead that it was interrupted.

    In the registry and in the store: either may lack an execution that the other knows.
    """
    registry.interrupt_dead()
    for record in read_executions(store.root):
        process = Process(record.host, record.machine, record.pid, record.process_started)
        if record.status != "running" or not is_dead(process):
            continue
        last = read_execution(store.root, record.id)  # again: it may have ended properly since it was read
        if last.status == "running":
            write_execution(store.root, last.ended("interrupted", f"process {last.pid} on {last.host} died"))
