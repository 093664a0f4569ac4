"""What a run holds it keeps; what it lost it hears of; a database that is gone ends it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from process_helper import wait_until

from ablab.errors import RunError
from ablab.registry.process import this_process
from ablab.registry.records import Lease, Owner
from ablab.registry.registry import Registry, open_registry
from ablab.runner.leases import LeaseKeeper

OTHER = Owner("another run", this_process())
BEAT_S = 0.05


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with open_registry(f"sqlite:///{tmp_path / 'registry.db'}") as opened:
        yield opened


def test_heartbeats_keep_a_lease_from_those_who_wait_for_it(registry: Registry) -> None:
    with LeaseKeeper(registry, "this run", BEAT_S) as leases:
        assert leases.acquire("a")
        until = time.monotonic() + 2.0
        while time.monotonic() < until:
            assert registry.try_acquire("a", OTHER, ttl=1.0) is None
            time.sleep(0.1)
        assert not leases.acquire("a"), "it is held, by this very run"
        assert str(this_process().pid) in leases.holder("a")
        assert leases.lost() == set()


def test_without_heartbeats_others_take_it(registry: Registry) -> None:
    with LeaseKeeper(registry, "this run", heartbeat_s=60.0) as leases:
        assert leases.acquire("a")
        wait_until(lambda: registry.try_acquire("a", OTHER, ttl=0.2) is not None)
        assert leases.release("a") is False


def test_a_lost_lease_is_told_once_and_the_others_are_kept(registry: Registry) -> None:
    with LeaseKeeper(registry, "this run", BEAT_S) as leases:
        assert leases.acquire("a")
        assert leases.acquire("b")
        assert registry.try_acquire("a", OTHER, ttl=-1.0) is not None
        wait_until(lambda: leases.lost() == {"a"})
        time.sleep(3 * BEAT_S)
        assert leases.lost() == set()
        assert leases.release("a") is False
        assert leases.release("b") is True
    holder = registry.holder("a")
    assert holder is not None
    assert holder.owner == OTHER, "what is not ours is not given back"


def test_all_leases_are_given_back_at_the_end(registry: Registry) -> None:
    with LeaseKeeper(registry, "this run", BEAT_S) as leases:
        assert all(leases.acquire(key) for key in "abc")
        assert leases.release("b")
    assert [registry.holder(key) for key in "abc"] == [None, None, None]


class Interleaved(Registry):
    """A registry in which something happens between the choice of the leases to renew and their renewal."""

    meanwhile: Callable[[], object] = staticmethod(lambda: None)

    def renew(self, held: Iterable[Lease]) -> set[str]:
        chosen = list(held)
        self.meanwhile()
        return super().renew(chosen)


def test_a_lease_given_back_and_taken_again_during_a_heartbeat_is_not_lost(registry: Registry) -> None:
    interleaved = Interleaved(registry.database)
    with LeaseKeeper(interleaved, "this run", BEAT_S) as leases:
        assert leases.acquire("a")
        times = 0

        def again() -> None:
            nonlocal times
            times += 1
            if times == 1:
                assert leases.release("a")
                assert leases.acquire("a")

        interleaved.meanwhile = again
        wait_until(lambda: times > 2)
        assert leases.lost() == set()
        assert leases.release("a"), "and is renewed like any other"


def test_a_lost_database_is_raised_where_the_run_waits(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="lost the registry database"), LeaseKeeper(registry, "r", BEAT_S) as leases:
        assert leases.acquire("a")
        (tmp_path / "registry.db").unlink()
        wait_until(lambda: leases.lost() != set())


def test_no_failure_of_the_heartbeat_is_lost_in_its_thread(registry: Registry) -> None:
    interleaved = Interleaved(registry.database)

    def fail() -> None:
        raise ArithmeticError("not of the database")

    interleaved.meanwhile = fail
    with pytest.raises(ArithmeticError), LeaseKeeper(interleaved, "r", BEAT_S) as leases:
        wait_until(lambda: leases.lost() != set())


def test_a_lost_database_does_not_hide_why_the_run_ends(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), LeaseKeeper(registry, "r", heartbeat_s=60.0) as leases:
        assert leases.acquire("a")
        (tmp_path / "registry.db").unlink()
        raise KeyboardInterrupt
