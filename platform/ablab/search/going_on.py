"""Whether somebody is at a recorded execution, or at a study. Imports no optuna."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ablab.errors import InputError
from ablab.registry.process import is_dead, this_process
from ablab.registry.registry import LEASE_SECONDS, Registry, open_registry
from ablab.runner.interrupted import process_of
from ablab.settings import Settings
from ablab.store import Store
from ablab.store.executions import Execution, read_executions

if TYPE_CHECKING:
    from ablab.search.stored import StoredStudy


def is_running(record: Execution, registry: Registry) -> bool:
    """Its process may live: nobody can say that it is dead, and it sends heartbeats or is of this machine."""
    return _may_run(record) and (_is_here(record) or _beats(record, registry))


def is_going_on(stored: StoredStudy, store: Store, settings: Settings) -> bool:
    """A living command is at it: at a trial, or at judging the best."""
    return bool(stored.running) or any(
        _judges(record, settings)
        for record in read_executions(store.root)
        if (record.study, record.scale) == (stored.study, stored.outcome.scale)
    )


def _judges(record: Execution, settings: Settings) -> bool:
    """The same without a registry at hand; where it cannot be asked, nobody can say that another machine's is dead."""
    if not _may_run(record) or _is_here(record):
        return _may_run(record)
    try:
        with open_registry(settings.registry_url) as registry:
            return _beats(record, registry)
    except InputError:
        return True


def _may_run(record: Execution) -> bool:
    return record.status == "running" and not is_dead(process_of(record))


def _is_here(record: Execution) -> bool:
    return process_of(record).machine == this_process().machine


def _beats(record: Execution, registry: Registry) -> bool:
    """It keeps the lease of one of its stages."""
    keys = {key for replicates in record.roles.values() for one in replicates for _, key in one.values()}
    holders = map(registry.holder, sorted(keys))
    return any(h and h.owner.execution == record.id and h.silent_seconds < LEASE_SECONDS for h in holders)
