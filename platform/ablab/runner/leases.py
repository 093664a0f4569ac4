"""The leases that this process holds, and the heartbeat that keeps them."""

from __future__ import annotations

import threading
from types import TracebackType

from ablab.errors import RunError
from ablab.registry.process import this_process
from ablab.registry.records import Lease, Owner
from ablab.registry.registry import Registry

HEARTBEAT_S = 10.0


class LeaseKeeper:
    """Acquires and releases leases; a thread renews them. Losing one is reported by `lost`."""

    def __init__(self, registry: Registry, execution: str) -> None:
        self._registry = registry
        self._owner = Owner(execution, this_process())
        self._held: dict[str, Lease] = {}
        self._lost: set[str] = set()
        self._fault: RunError | None = None
        self._guard = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> LeaseKeeper:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if self._fault is None:
            for key in list(self._held):
                self.release(key)

    def acquire(self, key: str) -> bool:
        """True when this process now holds the lease on a stage."""
        lease = self._registry.try_acquire(key, self._owner)
        if lease is not None:
            with self._guard:
                self._held[key] = lease
        return lease is not None

    def release(self, key: str) -> None:
        with self._guard:
            lease = self._held.pop(key, None)
        if lease is not None:
            self._registry.release(lease)

    def holder(self, key: str) -> str:
        """Who computes a stage, for people."""
        holder = self._registry.holder(key)
        return f"process {holder.owner.process.pid} on {holder.owner.process.host}" if holder else "another process"

    def lost(self) -> set[str]:
        """Keys whose lease another process took since the last call; a lost database is raised here."""
        if self._fault is not None:
            raise self._fault
        with self._guard:
            lost, self._lost = self._lost, set()
        return lost

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            with self._guard:
                held = dict(self._held)
            try:
                gone = self._registry.renew(list(held.values()))
            except RunError as error:
                self._fault = error  # raised in the main thread by `lost`
                return
            with self._guard:
                for key in gone:
                    self._held.pop(key, None)
                self._lost |= set(gone)
