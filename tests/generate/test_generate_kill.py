"""`kill -9` at any moment, then the same call: the bytes of an undisturbed run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ablab.generate.stage import generate
from ablab.store.context import StageContext

# Runs the stage in a process of its own, which kills itself with SIGKILL at its n-th report.
CHILD = """
import itertools, json, os, pathlib, signal, sys
from ablab.generate.stage import generate
from ablab.spec.placement import Numerics
from ablab.store.context import StageContext

params, inputs, out, work, at = json.loads(sys.argv[1])
calls = itertools.count(1)

def progress(done, total, unit, note=""):
    if next(calls) == at:
        os.kill(os.getpid(), signal.SIGKILL)

paths = {name: pathlib.Path(path) for name, path in inputs.items()}
generate(StageContext("k" * 64, params, paths, {}, pathlib.Path(out), pathlib.Path(work), Numerics(decoder_rows=4),
                      progress, {}))
"""


def test_killed_again_and_again_the_stage_ends_in_the_same_bytes(
    context: Callable[..., StageContext], params: Callable[..., dict[str, Any]], inputs: dict[str, Path]
) -> None:
    undisturbed = context(params(), "undisturbed")
    result = generate(undisturbed)
    # A shard reports 12 times while it is decoded and once when it is on disk. The kills fall into the first shard,
    # behind it on disk, into the third (its second attempt begins with two reports of shards on disk), and at the end.
    finished = []
    for at in (5, 13, 20, 15):
        attempt = context(params())
        arguments = [params(), {k: str(v) for k, v in inputs.items()}, str(attempt.out), str(attempt.work), at]
        child = subprocess.run([sys.executable, "-c", CHILD, json.dumps(arguments)], check=False, timeout=120)
        assert child.returncode == -signal.SIGKILL
        finished.append(sorted(path.name for path in (attempt.work / "shards").glob("*.shard")))
    assert [len(names) for names in finished] == [0, 1, 2, 3]
    last = context(params())
    assert generate(last) == result
    assert sorted(path.name for path in last.out.iterdir()) == ["sequences.bin", "steps.json", "train.parquet"]
    for path in last.out.iterdir():
        assert path.read_bytes() == (undisturbed.out / path.name).read_bytes()
