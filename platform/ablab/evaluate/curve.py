"""The stage kind `curve`: some suites at checkpoints of one training, all in one pass over the same requests."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from ablab.corpora import tokenizer
from ablab.evaluate import harness
from ablab.evaluate.harness import Evaluated
from ablab.evaluate.items import ItemOutcome
from ablab.evaluate.lm import ScoredLM
from ablab.evaluate.stage import load_scorer
from ablab.store.context import StageContext

SCHEMA = pa.schema(
    [
        ("step", pa.int32()),
        ("item", pa.string()),
        ("suite", pa.string()),
        ("task", pa.string()),
        ("group", pa.string()),
        ("correct", pa.bool_()),
    ]
)


def learning_curve(ctx: StageContext) -> dict[str, Any]:
    """Scores in % by suite and their unweighted mean at every declared step; writes `items.parquet`."""
    torch.set_num_threads(ctx.numerics.threads)
    built = harness.build(ctx.inputs["suite"], ctx.locations, ctx.params["suites"], ctx.params["items_per_task"])
    words = tokenizer.load(ctx.inputs["tokenizer"])
    steps: list[int] = list(ctx.params["steps"])
    found: list[Evaluated] = []
    for step in steps:
        scorer = load_scorer(ctx, step)
        found.append(harness.run(ScoredLM(scorer, words, ctx.inputs["requests"]), built))
        for cost, spent in (("tokens", float(scorer.tokens)), ("flops", scorer.flops)):
            ctx.costs[cost] = ctx.costs.get(cost, 0.0) + spent
        ctx.progress(len(found), len(steps), "checkpoints")
    _write(ctx.out / "items.parquet", steps, found)
    suites = {
        suite.name: {
            "group": suite.group,
            "chance": suite.chance,
            "scores": [100 * one.results[suite.name] for one in found],
        }
        for suite in built.suites
    }
    by_step = zip(*(suite["scores"] for suite in suites.values()), strict=True)
    return {"steps": steps, "suites": suites, "aggregate": [math.fsum(scores) / len(scores) for scores in by_step]}


def _write(path: Path, steps: Sequence[int], found: Sequence[Evaluated]) -> None:
    """One row for every item at every step. The same outcomes give the same bytes."""

    def rows() -> Iterator[tuple[int, ItemOutcome]]:
        return ((step, outcome) for step, one in zip(steps, found, strict=True) for outcome in one.outcomes)

    columns: dict[str, Any] = {"step": [step for step, _ in rows()]}
    columns |= {name: [getattr(outcome, name) for _, outcome in rows()] for name in SCHEMA.names[1:]}
    pq.write_table(pa.table(columns, schema=SCHEMA), path, compression="zstd")
