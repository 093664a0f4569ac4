"""Several small trainings on one machine, one after another and side by side: whether `--jobs` is worth it.

    python -m experiments.benchmarks.jobs --json FILE [--trainings 4] [--steps 200] [--threads CORES]

The trainings differ in their seed alone. Workers are the runner's own, with cores / jobs threads each, and warm: each
has computed a short training before. Every number of jobs is measured twice, in turn, and the faster time counts.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ablab.errors import RunError
from ablab.runner.pool import Pool
from ablab.spec.placement import Numerics
from ablab.spec.stages import Stage
from experiments.scales import smoke

JOBS = (1, 2)
VOCABULARY = 512


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Small trainings one after another and side by side.")
    parser.add_argument("--json", type=Path, required=True, help="where the figures go")
    parser.add_argument("--trainings", type=int, default=4)
    parser.add_argument("--steps", type=int, default=200, help="of each training")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="divided among the jobs")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), chosen.threads)
        seconds: dict[int, list[float]] = {jobs: [] for jobs in JOBS}
        for jobs in (*JOBS, *reversed(JOBS)):
            seconds[jobs].append(bench.seconds(jobs, chosen.trainings, chosen.steps))
            print(f"{chosen.trainings} trainings, jobs={jobs}: {seconds[jobs][-1]:.1f} s", file=sys.stderr, flush=True)
    tokens = chosen.trainings * chosen.steps * smoke().schedule.tokens_per_step
    figures = {
        "threads": chosen.threads,
        "trainings": chosen.trainings,
        "tokens_per_s": {jobs: tokens / min(found) for jobs, found in seconds.items()},
        "ratio_of_two_jobs": min(seconds[1]) / min(seconds[2]),
        "seconds": seconds,
    }
    chosen.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=1))
    return 0


class Bench:
    """A tokens directory, a store, and trainings that were never computed before."""

    def __init__(self, folder: Path, threads: int) -> None:
        self._folder, self._threads, self._seed = folder, threads, 0
        self._tokens = folder / "tokens"
        self._tokens.mkdir()
        stream = np.random.default_rng(1).integers(4, VOCABULARY, 200_000).astype("<u2")
        for split in ("train", "validation"):
            stream.tofile(self._tokens / f"{split}.bin")
        result = {"dtype": "uint16", "tokens": {"train": len(stream), "validation": len(stream)}}
        (self._tokens / "result.json").write_text(json.dumps(result), encoding="utf-8")

    def seconds(self, jobs: int, trainings: int, steps: int) -> float:
        """From the first task to the last result, with so many workers."""
        pool = Pool(jobs, max(1, self._threads // jobs), self._folder / "logs")
        try:
            self._compute(pool, [self._task(10, jobs) for _ in range(jobs)])
            tasks = [self._task(steps, jobs) for _ in range(trainings)]
            began = time.perf_counter()
            self._compute(pool, tasks)
            return time.perf_counter() - began
        finally:
            pool.close()

    def _compute(self, pool: Pool, tasks: list[dict[str, Any]]) -> None:
        waiting = list(tasks)
        while waiting or len(pool.idle()) < len(pool.workers):
            for worker in pool.idle()[: len(waiting)]:
                task = waiting.pop()
                worker.task = task["key"]
                worker.send(task)
            event = pool.next_event(1.0)
            if event is None or "progress" in event[1] or "measured" in event[1]:
                continue
            if "done" not in event[1]:
                raise RunError(f"a training failed: {event[1]}")
            event[0].task = None

    def _task(self, steps: int, jobs: int) -> dict[str, Any]:
        """A training of its own, as the runner hands it to a worker."""
        self._seed += 1
        recipe = smoke()
        schedule = {**dict(recipe.schedule), "steps": steps, "checkpoint_every": steps, "warmup_steps": 5}
        stage = Stage(
            "train",
            {
                "model": dict(recipe.model),
                "vocab_size": VOCABULARY,
                "schedule": schedule,
                "precision": recipe.precision,
                "train_seed": self._seed,
                "share": 0.0,
            },
        )
        return {
            "key": stage.key,
            "identity": stage.identity,
            "steps": [],
            "uses": [],
            "inputs": {"tokens": str(self._tokens)},
            "locations": {},
            "store": str(self._folder / "store"),
            "numerics": Numerics(threads=max(1, self._threads // jobs)).model_dump(),
            "generation_workers": 1,
            "hostfile": None,
        }


if __name__ == "__main__":
    sys.exit(main())
