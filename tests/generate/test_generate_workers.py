"""However many processes decode a corpus, and whichever of them are killed: the same bytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from process_helper import alive, below, wait_until

from ablab.generate.stage import generate
from ablab.store.children import context_as_task
from ablab.store.context import StageContext

Contexts = Callable[..., StageContext]
Params = Callable[..., dict[str, Any]]
SHARDS = 12

# The stage in a process of its own. At its first report it holds a shard; it waits there until others are finished,
# which only its helpers can have done.
STAGE = """
import pathlib, sys, time
from dataclasses import replace
from ablab.generate.stage import generate
from ablab.store.children import context_of, task_given

task = task_given()
shards = pathlib.Path(task["work"]) / "shards"

def progress(done, total, unit, note=""):
    while len(list(shards.glob("*.shard"))) < 4:
        time.sleep(0.01)
    time.sleep(task["pause"])

generate(replace(context_of(task, {}, progress), generation_workers=3))
"""


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_one_process_or_several_killed_or_not_give_the_same_bytes(context: Contexts, params: Params) -> None:
    declared = params(tokens=12 * 4 * SHARDS)
    alone = context(declared, "alone")
    result = generate(alone)

    killed = context(declared)
    shards = killed.work / "shards"
    with subprocess.Popen([sys.executable, "-c", STAGE], stdin=subprocess.PIPE) as stage:
        assert stage.stdin is not None
        stage.stdin.write(json.dumps(context_as_task(killed) | {"pause": 60}).encode() + b"\n")
        stage.stdin.flush()
        wait_until(lambda: len(list(shards.glob("*.shard"))) >= 4)
        others = below(stage.pid)
        os.kill(stage.pid, signal.SIGKILL)
        wait_until(lambda: not any(alive(pid) for pid in others))
    assert len(others) == 2  # they ended with it
    finished = sorted(path.name for path in shards.glob("*.shard"))
    assert "00000000.shard" not in finished

    notes: list[str] = []

    def kill_a_helper(_done: int, _total: int, _unit: str, note: str = "") -> None:
        if not notes:
            helper = below(os.getpid(), "generate.workers")[0]
            os.kill(helper, signal.SIGKILL)
            wait_until(lambda: not alive(helper))
        notes.append(note)

    resumed = replace(context(declared), progress=kill_a_helper, generation_workers=4)
    assert generate(resumed) == result
    assert files(resumed.out) == files(alone.out)
    assert any("died (signal SIGKILL (out of memory?)), the others go on" in note for note in notes)
    assert sorted(path.name for path in shards.glob("*.shard")) == [f"{index:08d}.shard" for index in range(SHARDS)]


def test_a_shard_that_another_process_is_at_is_left_to_it_and_taken_over_when_it_dies(
    context: Contexts, params: Params
) -> None:
    alone, ctx = context(params(), "alone"), context(params())
    result = generate(alone)
    holder = "import sys; from pathlib import Path; from ablab.store.locks import try_lock\n"
    holder += "lock = try_lock(Path(sys.argv[1])); print(lock is not None, flush=True); sys.stdin.read()"
    lock = ctx.work / "shards" / "00000000.lock"
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"True\n"
        decoded: list[set[str]] = []

        def release_at_the_end(done: int, _total: int, _unit: str, _note: str = "") -> None:
            decoded.append({path.name for path in lock.parent.glob("*.shard")})
            if done >= 72:  # all of the two others, while the first is held
                other.kill()

        assert generate(replace(ctx, progress=release_at_the_end)) == result
    assert {"00000001.shard"} in decoded
    assert all("00000000.shard" not in names for names in decoded[:24])
    assert files(ctx.out) == files(alone.out)
