"""One of several processes that train a model together (`ablab.train.launch` and `ablab.train.hosts` start them)."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from ablab.errors import InputError, RunError
from ablab.store.children import context_of, task_given
from ablab.store.context import StageContext, silent, unheard
from ablab.train.ranks import Group
from ablab.train.stage import train_as

PATIENCE = timedelta(hours=12)  # between ranks: one may verify or write for long; a dead one is noticed by the parent
PULSE_S = 1.0

Send = Callable[[dict[str, Any]], None]


def main(event_pipe: int) -> None:
    """Reads the task from standard input and writes events to a pipe. Ends at once when its parent is gone."""
    task = task_given()
    with os.fdopen(event_pipe, "w", encoding="utf-8") as events:

        def send(event: dict[str, Any]) -> None:
            events.write(json.dumps(event) + "\n")
            events.flush()

        group = join(task["rank"], task["ranks"], task["meeting"], task["numerics"]["device"])
        _train(task, group, send)


def main_launched() -> None:
    """As started by DeepSpeed's launcher: the task comes from the store of the parent, and events go there."""
    where = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    threading.Thread(target=_end_with_store, args=(_client(*where), rank), daemon=True).start()
    store = _client(*where)
    task = json.loads(store.get("task")) | {"rank": rank}

    def send(event: dict[str, Any]) -> None:
        store.set(f"event/{store.add('events', 1) - 1}", json.dumps(event))  # of all ranks, in one order

    if where[0].startswith("127."):
        _stay_on_loopback()
    group = _group(rank, size, store, task["numerics"]["device"], int(os.environ["LOCAL_RANK"]))
    _train(task, group, send)


def _client(address: str, port: int) -> Any:
    store = torch.distributed.TCPStore(address, port, is_master=False)  # type: ignore[attr-defined]
    store.set_timeout(PATIENCE)
    return store


def _end_with_store(store: Any, rank: int) -> None:
    """Tells the parent that this rank is alive, until the parent is gone or says stop."""
    try:
        while not store.check(["stop"]):
            store.add(f"pulse/{rank}", 1)
            time.sleep(PULSE_S)
    finally:
        os._exit(1)


def _train(task: dict[str, Any], group: Group, send: Send) -> None:
    """Train as one of the group. The first one tells what comes of it, every one what goes wrong with it: a rank alone
    may have no room, and the others wait for it then."""
    ctx = _context(task, send)
    try:
        result = train_as(group, ctx)
        if group.first:
            send({"result": result, "costs": ctx.costs, "record": ctx.record})
    except InputError as error:
        send({"input": list(error.faults)})
    except RunError as error:
        message = str(error).removesuffix(f"\n{error.remedy}") if error.remedy else str(error)
        send({"failed": message, "remedy": error.remedy})
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        send({"failed": str(error), "remedy": "free space, then run the same command" if full else ""})
    torch.distributed.destroy_process_group()


def join(rank: int, size: int, meeting: str, device: str) -> Group:
    """Meet the other ranks at a file and make this process one of the group."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
    _stay_on_loopback()
    store = torch.distributed.FileStore(meeting, size)  # type: ignore[attr-defined]
    store.set_timeout(PATIENCE)
    return _group(rank, size, store, device, rank)


def _stay_on_loopback() -> None:
    if Path("/sys/class/net/lo").exists():
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # else gloo looks its host name up, which may not resolve


def _group(rank: int, size: int, store: Any, device: str, local_rank: int) -> Group:
    if device.startswith("cuda"):
        device = f"cuda:{local_rank}"
        torch.cuda.set_device(local_rank)
    backend = "nccl" if device.startswith("cuda") else "gloo"
    torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    return Group(rank, size, store, device)


def _context(task: dict[str, Any], send: Send) -> StageContext:
    def report(done: int, total: int, unit: str, note: str = "") -> None:
        send({"progress": [done, total, unit, note]})

    def measured(step: int, values: Mapping[str, float]) -> None:
        send({"measured": [step, values]})

    first = task["rank"] == 0
    return context_of(task, {}, report if first else silent, measured if first else unheard)


if __name__ == "__main__":
    main_launched()
