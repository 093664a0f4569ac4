"""Two processes never hold one lease; a dead owner's is taken at once, a silent one's after its time."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ablab.registry.process import Process, is_dead, this_process
from ablab.registry.records import Owner
from ablab.registry.registry import Registry, open_registry

FORK = multiprocessing.get_context("fork")
KEY = "a" * 64


def owner(name: str = "me", process: Process | None = None) -> Owner:
    return Owner(name, process or this_process())


@contextmanager
def child() -> Iterator[tuple[subprocess.Popen[bytes], Process]]:
    """A process that waits, and what it is known as."""
    code = "from ablab.registry.process import this_process as t; p = t(); print(p.started, flush=True); input()"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        started = process.stdout.readline().decode().strip()
        yield process, replace(this_process(), pid=process.pid, started=started)
        process.kill()


def test_one_owner_has_the_lease_until_it_is_released(registry: Registry) -> None:
    lease = registry.try_acquire(KEY, owner("first"))
    assert lease is not None
    assert registry.try_acquire(KEY, owner("second")) is None
    assert registry.try_acquire(KEY, owner("first")) is None
    assert registry.try_acquire("b" * 64, owner("second")) is not None
    assert registry.renew([lease]) == set()
    assert registry.release(lease)
    assert not registry.release(lease)
    assert registry.holder(KEY) is None
    assert registry.try_acquire(KEY, owner("second")) is not None


def test_the_holder_is_known_with_its_silence(registry: Registry) -> None:
    assert registry.holder(KEY) is None
    lease = registry.try_acquire(KEY, owner())
    assert lease is not None
    time.sleep(0.05)
    before = registry.holder(KEY)
    registry.renew([lease])
    after = registry.holder(KEY)
    assert before is not None and after is not None
    assert before.owner == after.owner == owner()
    assert before.silent_seconds == pytest.approx(before.held_seconds, abs=0.001)
    assert before.silent_seconds >= 0.04
    assert after.silent_seconds < before.silent_seconds < after.held_seconds


def test_a_silent_lease_is_taken_over_after_its_time_and_the_old_owner_finds_out(registry: Registry) -> None:
    old = registry.try_acquire(KEY, owner("old"))
    kept = registry.try_acquire("b" * 64, owner("old"))
    assert old is not None and kept is not None
    time.sleep(0.05)
    assert registry.try_acquire(KEY, owner("new"), ttl=30.0) is None
    new = registry.try_acquire(KEY, owner("new"), ttl=0.02)
    assert new is not None
    assert registry.renew([old, kept]) == {KEY}
    assert not registry.release(old)
    assert registry.renew([new]) == set()
    held = registry.holder(KEY)
    assert held is not None and held.owner.execution == "new" and held.held_seconds < 5.0


def test_a_heartbeat_keeps_a_lease_beyond_its_time(registry: Registry) -> None:
    lease = registry.try_acquire(KEY, owner("old"))
    assert lease is not None
    for _ in range(5):
        time.sleep(0.1)
        assert registry.try_acquire(KEY, owner("new"), ttl=5.0) is None
        assert registry.renew([lease]) == set()
    held = registry.holder(KEY)
    assert held is not None and held.held_seconds > 0.4 > held.silent_seconds


def test_a_killed_process_loses_its_lease_at_once_and_a_living_one_does_not(registry: Registry) -> None:
    with child() as (process, known):
        assert not is_dead(known)
        old = registry.try_acquire(KEY, owner("child", known))
        assert old is not None
        assert registry.try_acquire(KEY, owner()) is None
        process.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and a zombie still
        assert is_dead(known)
        assert registry.try_acquire(KEY, owner()) is not None
        assert registry.renew([old]) == {KEY}
    assert is_dead(known)


def test_a_process_that_got_a_dead_ones_pid_does_not_keep_its_lease(registry: Registry) -> None:
    registry.try_acquire(KEY, owner("dead", replace(this_process(), started="1")))
    assert registry.try_acquire(KEY, owner()) is not None


def test_a_process_of_another_machine_is_never_taken_for_dead(registry: Registry) -> None:
    with child() as (process, known):
        process.kill()
        process.wait()
        elsewhere = replace(known, machine="another container with our host name")
        assert is_dead(known) and not is_dead(elsewhere)
        registry.try_acquire(KEY, owner("elsewhere", elsewhere))
        assert registry.try_acquire(KEY, owner()) is None


@pytest.mark.parametrize("command", ["a) S 1 1 (b", "x" * 15])
def test_the_start_time_is_read_whatever_the_command_is_called(tmp_path: Path, command: str) -> None:
    program = tmp_path / command
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([str(program), "60"]) as process:
        known = replace(this_process(), pid=process.pid, started=_ticks(process.pid))
        assert not is_dead(known)
        process.kill()


def _ticks(pid: int) -> str:
    """Start time as `ps` sees it: the same file, parsed by a program of others."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()[19]


def _hammer(url: str, folder: Path, seed: int, seconds: float) -> None:
    """Take, hold and give back leases of three keys; a held one is also a file lock, which must be free."""
    draw = random.Random(seed)
    me = owner(str(seed))
    end = time.monotonic() + seconds
    taken = 0
    with open_registry(url) as registry:
        while time.monotonic() < end:
            key = draw.choice("abc") * 64
            lease = registry.try_acquire(key, me)
            if lease is None:
                continue
            with (folder / key).open("w") as marker:
                fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises while another process holds it
                taken += 1
                assert registry.renew([lease]) == set()
                time.sleep(draw.random() * 0.005)
                if draw.random() < 0.02:
                    os.kill(os.getpid(), signal.SIGKILL)
            assert registry.release(lease)
    (folder / f"taken-{seed}").write_text(str(taken))


def test_two_processes_never_hold_one_lease_even_if_some_are_killed(url: str, tmp_path: Path) -> None:
    open_registry(url).close()
    processes = [FORK.Process(target=_hammer, args=(url, tmp_path, seed, 2.0)) for seed in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
    codes = [process.exitcode for process in processes]
    assert set(codes) <= {0, -signal.SIGKILL}, codes
    with open_registry(url) as registry:  # nothing stays locked by the dead
        assert all(registry.try_acquire(name * 64, owner()) for name in "abc")


def test_of_processes_that_take_over_one_dead_lease_exactly_one_succeeds(url: str, tmp_path: Path) -> None:
    keys = [f"{number:064x}" for number in range(40)]
    dead = owner("dead", replace(this_process(), started="1"))
    with open_registry(url) as registry:
        assert all(registry.try_acquire(key, dead) for key in keys)
    barrier = FORK.Barrier(4)

    def take_all(number: int) -> None:
        with open_registry(url) as mine:
            barrier.wait(timeout=60)
            won = [key for key in keys if mine.try_acquire(key, owner(str(number)))]
            barrier.wait(timeout=60)  # whoever ends early is dead, and what it won may be taken again
        (tmp_path / f"won-{number}").write_text("\n".join(won))

    processes = [FORK.Process(target=take_all, args=(number,)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
    won = [key for number in range(4) for key in (tmp_path / f"won-{number}").read_text().split()]
    assert sorted(won) == keys


def test_threads_of_one_process_share_a_registry(registry: Registry) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def take(number: int) -> bool:
        return registry.try_acquire(f"{number % 10:064x}", owner(str(number))) is not None

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(take, range(40))) == 10
