"""One training on several machines, started by DeepSpeed's launcher from a hostfile.

The process that computes the stage serves a TCP store at a port that the system picks, so none can be taken. The ranks
find their task there, meet there, and tell their events there. Each looks once a second whether it is still there and
ends itself when it is not, so what the launcher leaves behind ends with its parent; and that the launcher ended well is
not believed without the result. All machines must see the directories of ablab's store at the same paths.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from ablab.errors import InputError, RunError
from ablab.spec.hostfile import HERE, is_here, parse_hostfile
from ablab.store.children import context_as_task, describe_exit, import_path
from ablab.store.context import StageContext
from ablab.train.launch import heard, taken

SILENT_S = 120.0  # a rank that was heard before and is not for so long has hung, or its machine is gone
LOOK_S = 0.1
END_S = 30.0  # for ranks to notice that they are to stop


def train_on_hosts(ctx: StageContext, hostfile: Path) -> dict[str, Any]:
    """`train` in as many processes as the hostfile has slots; the result of rank 0.

    Raises what a rank raised, or RunError when the launcher ended without a result or a rank fell silent.
    """
    hosts = parse_hostfile(hostfile.read_text(encoding="utf-8"), str(hostfile))
    ranks = sum(hosts.values())
    if ranks != ctx.numerics.ranks:
        raise InputError(f"{hostfile} has {ranks} slots, but numerics.ranks={ctx.numerics.ranks}; use ranks={ranks}")
    if not is_here(hosts) and shutil.which("pdsh") is None:
        raise InputError(f"{hostfile} names other machines, which needs pdsh, and there is none: apt-get install pdsh")
    address = _address(next(iter(hosts)))
    store = torch.distributed.TCPStore(address, 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
    store.set("task", json.dumps(context_as_task(ctx)))
    with _launched(_command(hostfile, hosts, address, store.port), ctx, store) as launcher:
        ended = _listen(store, launcher, ctx, ranks)
        try:
            code = launcher.wait(END_S)
        except subprocess.TimeoutExpired:
            code = 0  # the result is there; what hangs behind it is ended now
        if code:
            raise _failed(code)
    return taken(ended, ctx)


def _address(host: str) -> str:
    """Of this machine, as `host` reaches it."""
    if host in HERE:
        return "127.0.0.1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
        try:
            route.connect((host, 9))  # sends nothing
        except OSError as error:
            raise InputError(f"the hostfile names {host!r}, which is not found: {error}; correct its name") from error
        return str(route.getsockname()[0])


def _command(hostfile: Path, hosts: dict[str, int], address: str, port: int) -> list[str]:
    return [
        sys.executable,
        *("-m", "deepspeed.launcher.runner"),
        *("--hostfile", str(hostfile), "--launcher", "pdsh", "--no_ssh_check"),
        *(() if is_here(hosts) else ("--force_multi",)),  # one other machine would be taken for this one
        *("--master_addr", address, "--master_port", str(port)),
        *("--log_level", "error", "--no_local_rank", "--module", "ablab.train.rank"),
    ]


@contextmanager
def _launched(command: list[str], ctx: StageContext, store: Any) -> Iterator[subprocess.Popen[bytes]]:
    """The launcher, in a session of its own; behind the block it and the ranks have ended."""
    # It would put every variable of MLflow, passwords too, on a command line.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    process = subprocess.Popen(
        command,
        cwd=ctx.work,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        env={**kept, "PYTHONPATH": import_path(), "PYTHONSAFEPATH": "1"},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        store.set("stop", "")
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _listen(store: Any, launcher: subprocess.Popen[bytes], ctx: StageContext, ranks: int) -> dict[str, Any]:
    """Pass on events until rank 0 says how it ended."""
    told, pulses = 0, [(0, time.monotonic())] * ranks
    while True:
        ended = launcher.poll()  # before the events: what was told before the end is heard
        while store.check([f"event/{told}"]):
            event = json.loads(store.get(f"event/{told}"))
            store.delete_key(f"event/{told}")
            told += 1
            if heard(event, ctx):
                return dict(event)
        if ended is not None:
            raise _failed(ended)
        for rank, (count, since) in enumerate(pulses):
            now = store.add(f"pulse/{rank}", 0)
            if now != count:
                pulses[rank] = now, time.monotonic()
            elif count and time.monotonic() - since > SILENT_S:
                raise RunError(f"rank {rank} of {ranks} fell silent: it hangs, or its machine is gone")
        time.sleep(LOOK_S)


def _failed(code: int) -> RunError:
    return RunError(
        f"DeepSpeed's launcher ended without a result: {describe_exit(code)}",
        "the log of the worker tells more; every machine must be reached by ssh without a password, and have the same "
        "Python environment and store at the same paths",
    )
