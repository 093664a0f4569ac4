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

    def __init__(self, registry: Registry, execution: str, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._registry, self._heartbeat_s = registry, heartbeat_s
        self._owner = Owner(execution, this_process())
        self._held: dict[str, Lease] = {}
        self._lost: set[str] = set()
        self._fault: Exception | None = None
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
        try:
            for key in list(self._held) if self._fault is None else ():
                self.release(key)
        except RunError:
            if error is None:
                raise
            # The run ends for another reason, which is on its way; leases that are not given back run out.

    def acquire(self, key: str) -> bool:
        """True when this process now holds the lease on a stage."""
        lease = self._registry.try_acquire(key, self._owner)
        if lease is not None:
            with self._guard:
                self._held[key] = lease
        return lease is not None

    def release(self, key: str) -> bool:
        """Give a lease back; False if another process had taken it."""
        with self._guard:
            lease = self._held.pop(key, None)
        return lease is not None and self._registry.release(lease)

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
        while not self._stop.wait(self._heartbeat_s):
            with self._guard:
                held = dict(self._held)
            try:
                gone = self._registry.renew(held.values())
            except Exception as error:
                self._fault = error  # the boundary of the thread: raised in the main one by `lost`
                return
            with self._guard:
                for key in gone:
                    if self._held.get(key) is held[key]:  # not one that was given back, or taken anew, meanwhile
                        del self._held[key]
                        self._lost.add(key)
