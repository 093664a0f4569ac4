"""The stage kind `curve`: some suites at checkpoints of one training, all in one pass over the same requests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from ablab.corpora import tokenizer
from ablab.evaluate import items
from ablab.evaluate.measure import Measured, measure_suites
from ablab.evaluate.stage import load_scorer
from ablab.store.context import StageContext

_OF_ITEMS = ("item", "cluster", "suite", "task", "group", "correct")
SCHEMA = pa.schema([("step", pa.int32()), *(items.SCHEMA.field(name) for name in _OF_ITEMS)])


def learning_curve(ctx: StageContext) -> dict[str, Any]:
    """Scores in % by suite and their unweighted mean at every declared step; writes `items.parquet`."""
    torch.set_num_threads(ctx.numerics.threads)
    words = tokenizer.load(ctx.inputs["tokenizer"])
    steps: list[int] = list(ctx.params["steps"])
    found: list[Measured] = []
    for step in steps:
        scorer = load_scorer(ctx, step)
        found.append(measure_suites(ctx, scorer, words, ctx.params["suites"], ctx.params["items_per_task"]))
        for cost, spent in (("tokens", float(scorer.tokens)), ("flops", scorer.flops)):
            ctx.costs[cost] = ctx.costs.get(cost, 0.0) + spent
        ctx.progress(len(found), len(steps), "checkpoints")
    _write(ctx.out / "items.parquet", steps, found)
    suites = {
        name: {
            "group": suite["group"],
            "chance": suite["chance"],
            "scores": [one.suites[name]["score"] for one in found],
        }
        for name, suite in found[0].suites.items()
    }
    by_step = zip(*(suite["scores"] for suite in suites.values()), strict=True)
    return {"steps": steps, "suites": suites, "aggregate": [math.fsum(scores) / len(scores) for scores in by_step]}


def _write(path: Path, steps: Sequence[int], found: Sequence[Measured]) -> None:
    """One row for every item at every step. The same outcomes give the same bytes."""
    rows = [(step, outcome) for step, one in zip(steps, found, strict=True) for outcome in one.outcomes]
    columns: dict[str, Any] = {"step": [step for step, _ in rows]}
    columns |= {name: [getattr(outcome, name) for _, outcome in rows] for name in _OF_ITEMS}
    pq.write_table(pa.table(columns, schema=SCHEMA), path, compression="zstd")
