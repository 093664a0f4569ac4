"""Whether training works here: one real step in each precision, `python -m ablab.train.probe DEVICE`; and which
micro-batch fits the memory, `... DEVICE FILE`, of a training whose `params` and `numerics` the JSON file holds.

Prints one JSON object as its last line: versions, what torch sees, the loss of each step in nats, seconds; or the
`micro_batch` (null where none fits) and the `blocks` of a step.
"""

from __future__ import annotations

import json
import math
import os
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ablab.errors import RunError
from ablab.spec.placement import Numerics
from ablab.spec.recipe import Model, Schedule
from ablab.store.context import StageContext, silent
from ablab.store.memory import free_memory
from ablab.train.engine import Engine, numerics
from ablab.train.memory import largest_that_fits
from ablab.train.settings import read_settings

VOCABULARY, BLOCKS = 64, 2
MODEL = Model(layers=1, hidden=16, heads=2, ffn=32, context=16)
SCHEDULE = Schedule(
    steps=2,
    tokens_per_step=BLOCKS * MODEL.context,
    learning_rate=1e-3,
    warmup_steps=1,
    weight_decay=0.1,
    checkpoint_every=2,
    validation_tokens=MODEL.context,
)


def probe(device: str) -> dict[str, Any]:
    """Take the steps. Raises `RunError` without the device, else what training itself would raise."""
    _check_device(device)
    began = time.perf_counter()
    blocks = np.random.default_rng(0).integers(4, VOCABULARY, size=(BLOCKS, MODEL.context + 1))
    losses = {}
    for precision in ("fp32", "bf16"):
        settings = read_settings(_context(precision, device))
        with numerics(settings), Engine(settings) as engine:
            report = engine.step(blocks)
        if not (report.applied and math.isfinite(report.loss_nats)):
            raise ArithmeticError(f"a step in {precision} gave a loss of {report.loss_nats} nats and was not applied")
        losses[precision] = report.loss_nats
    return {"losses": losses, "seconds": time.perf_counter() - began, **_seen()}


def fitting(training: Mapping[str, Any]) -> dict[str, int | None]:
    """The largest micro-batch of a training for which a step of one rank fits the memory that is free now."""
    chosen = Numerics.model_validate({**training["numerics"], "ranks": 1, "compile": "never"})
    settings = read_settings(_stage(training["params"], chosen))
    shape = settings.blocks_per_rank, settings.model.context + 1
    blocks = np.random.default_rng(0).integers(0, settings.vocab_size, size=shape)
    if settings.device == "cpu":
        _fail_instead_of_being_killed()
    found = None
    with numerics(settings), Engine(settings) as engine:
        found = largest_that_fits(settings, lambda size: engine.attempt(blocks[:size]), len(blocks))
    return {"micro_batch": found, "blocks": len(blocks)}


def _fail_instead_of_being_killed() -> None:
    """Bound the address space by the memory that is free: else the system ends who takes too much."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + free_memory(), resource.getrlimit(resource.RLIMIT_AS)[1]))


def _check_device(device: str) -> None:
    kind, _, index = device.partition(":")
    there = torch.cuda.device_count()
    if kind == "cuda" and there <= int(index or 0):
        raise RunError(
            f"torch {torch.__version__} sees {there} GPUs, so there is no {device}",
            "install a CUDA build of torch that fits the driver, or run with --numerics device=cpu",
        )


def _context(precision: str, device: str) -> StageContext:
    """A stage that reads and writes no file."""
    params = {
        "model": dict(MODEL),
        "vocab_size": VOCABULARY,
        "schedule": dict(SCHEDULE),
        "precision": precision,
        "train_seed": 1,
        "share": 0.0,
    }
    return _stage(params, Numerics(device=device, micro_batch=BLOCKS))


def _stage(params: Mapping[str, Any], chosen: Numerics) -> StageContext:
    nowhere = Path("/nonexistent")
    return StageContext("", params, {}, {}, nowhere, nowhere, chosen, silent, {})


def _seen() -> dict[str, Any]:
    import deepspeed

    found = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    gpus = [torch.cuda.get_device_properties(number) for number in found]
    return {
        "torch": torch.__version__,
        "deepspeed": deepspeed.__version__,
        "cuda": torch.version.cuda,
        "gpus": [{"name": gpu.name, "bytes": gpu.total_memory} for gpu in gpus],
    }


def main() -> int:
    """Exit code 1 with `fault` and `remedy` where ablab itself knows what is wrong."""
    try:
        device, *files = sys.argv[1:]
        print(json.dumps(fitting(json.loads(Path(files[0]).read_bytes())) if files else probe(device)))
    except RunError as error:
        print(json.dumps({"fault": str(error).partition("\n")[0], "remedy": error.remedy}))
        return error.exit_code
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
