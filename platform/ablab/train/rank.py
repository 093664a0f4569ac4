"""One of several processes that train a model together (`ablab.train.launch` starts them)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
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


def main(event_pipe: int) -> None:
    """Reads the task from standard input and writes events to a pipe. Ends at once when its parent is gone."""
    task = task_given()
    with os.fdopen(event_pipe, "w", encoding="utf-8") as events:

        def send(event: dict[str, Any]) -> None:
            events.write(json.dumps(event) + "\n")
            events.flush()

        send_from_first = send if task["rank"] == 0 else _nowhere
        costs: dict[str, float] = {}
        try:
            group = join(task["rank"], task["ranks"], task["meeting"], task["numerics"]["device"])
            result = train_as(group, _context(task, costs, send_from_first))
            send_from_first({"result": result, "costs": costs})
        except InputError as error:
            send_from_first({"input": list(error.faults)})
        except RunError as error:
            message = str(error).removesuffix(f"\n{error.remedy}") if error.remedy else str(error)
            send_from_first({"failed": message, "remedy": error.remedy})
    torch.distributed.destroy_process_group()


def _nowhere(event: dict[str, Any]) -> None:
    """All ranks find the same; the first one tells it."""


def join(rank: int, size: int, meeting: str, device: str) -> Group:
    """Meet the other ranks at a file and make this process one of the group."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
    if Path("/sys/class/net/lo").exists():
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # else gloo looks its host name up, which may not resolve
    if device.startswith("cuda"):
        device = f"cuda:{rank}"
        torch.cuda.set_device(rank)
    store = torch.distributed.FileStore(meeting, size)  # type: ignore[attr-defined]
    store.set_timeout(PATIENCE)
    backend = "nccl" if device.startswith("cuda") else "gloo"
    torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    return Group(rank, size, store, device)


def _context(task: dict[str, Any], costs: dict[str, float], send: Any) -> StageContext:
    def report(done: int, total: int, unit: str, note: str = "") -> None:
        send({"progress": [done, total, unit, note]})

    def measured(step: int, values: Mapping[str, float]) -> None:
        send({"measured": [step, values]})

    first = task["rank"] == 0
    return context_of(task, costs, report if first else silent, measured if first else unheard)
