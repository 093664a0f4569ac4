"""The stage kind `curve`: some suites at checkpoints of one training, all in one pass over the same requests.

What a look while the training went on has found of the same weights, with the same numerics, is not computed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from ablab.corpora import tokenizer
from ablab.evaluate import items
from ablab.evaluate.looks import Look, look_file, read_look, write_look
from ablab.evaluate.measure import measure_suites
from ablab.evaluate.stage import load_scorer
from ablab.models.llama import WEIGHTS
from ablab.store.context import StageContext
from ablab.store.files import sha256_file

_OF_ITEMS = ("item", "cluster", "suite", "task", "group", "correct")
ROWS = pa.schema([items.SCHEMA.field(name) for name in _OF_ITEMS])
SCHEMA = pa.schema([("step", pa.int32()), *ROWS])
SHOWN = ("group", "chance", "score")


def learning_curve(ctx: StageContext) -> dict[str, Any]:
    """Scores in % by suite and their unweighted mean at every declared step; writes `items.parquet`."""
    steps: list[int] = list(ctx.params["steps"])
    found: list[Look] = []
    for step in steps:
        found.append(_look(ctx, step, ctx.inputs["train"] / "checkpoints" / f"step-{step:08d}"))
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
    return {"steps": steps, "suites": suites, "aggregate": [one.aggregate for one in found]}


def look(ctx: StageContext, step: int, checkpoint: Path) -> dict[str, float]:
    """Scores in % at a checkpoint of a training that goes on, kept in `ctx.work` for the stage of this context, which
    has no `train` yet: `score/<suite>`, and their unweighted mean `aggregate`."""
    found = _look(ctx, step, checkpoint)
    return {f"score/{name}": suite["score"] for name, suite in found.suites.items()} | {"aggregate": found.aggregate}


def _look(ctx: StageContext, step: int, checkpoint: Path) -> Look:
    """Of a look that was kept, of the same weights; else computed, and kept."""
    path, weights = look_file(ctx.work, step), sha256_file(checkpoint / WEIGHTS)
    found = read_look(path)
    if found is not None and found.weights == weights:
        return found
    torch.set_num_threads(ctx.numerics.threads)
    scorer = load_scorer(ctx, checkpoint)
    words = tokenizer.load(ctx.inputs["tokenizer"])
    measured = measure_suites(ctx, scorer, words, ctx.params["suites"], ctx.params["items_per_task"])
    for cost, spent in (("tokens", float(scorer.tokens)), ("flops", scorer.flops)):
        ctx.costs[cost] = ctx.costs.get(cost, 0.0) + spent
    suites = {name: {field: suite[field] for field in SHOWN} for name, suite in measured.suites.items()}
    columns = {name: [getattr(outcome, name) for outcome in measured.outcomes] for name in ROWS.names}
    made = Look(weights, suites, pa.table(columns, schema=ROWS))
    write_look(path, made)
    return made


def _write(path: Path, steps: Sequence[int], found: Sequence[Look]) -> None:
    """One row for every item at every step. The same outcomes give the same bytes."""
    tables = [
        one.rows.add_column(0, SCHEMA.field("step"), pa.array([step] * len(one.rows), pa.int32()))
        for step, one in zip(steps, found, strict=True)
    ]
    pq.write_table(pa.concat_tables(tables).combine_chunks(), path, compression="zstd")
