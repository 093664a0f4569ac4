"""What both stages do with a model: suites through lm-eval, perplexity, item-level outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenizers import Tokenizer

from ablab.evaluate import harness
from ablab.evaluate.harness import Evaluated, Harness, task_name
from ablab.evaluate.items import Suite, write_items
from ablab.evaluate.lm import ScoredLM
from ablab.evaluate.metrics import ACCURACY
from ablab.evaluate.perplexity import language_modelling, read_stream
from ablab.evaluate.scoring import TokenScorer
from ablab.store.context import StageContext


def measure(ctx: StageContext, scorer: TokenScorer, tokenizer: Tokenizer) -> dict[str, Any]:
    """Write `items.parquet`; return `suites` (scores in %) and `language_modelling` of the stage's result."""
    suites = harness.build(ctx.inputs["suite"], ctx.locations)
    evaluated = harness.run(ScoredLM(scorer, tokenizer, ctx.inputs["requests"]), suites)
    write_items(ctx.out / "items.parquet", evaluated.outcomes)
    stream = read_stream(ctx.inputs["tokens"], "test", ctx.params["test_tokens"])
    return {"suites": _scores(suites, evaluated), "language_modelling": language_modelling(scorer, stream)}


def _scores(suites: Harness, evaluated: Evaluated) -> dict[str, Any]:
    return {suite.name: _suite_scores(suite, evaluated.results) for suite in suites.suites}


def _suite_scores(suite: Suite, results: Mapping[str, float]) -> dict[str, Any]:
    """lm-eval's numbers in %; a suite takes the unweighted mean over its tasks, or over its sections' means."""
    scores: dict[str, Any] = {
        "score": 100 * results[suite.name],
        "group": suite.group,
        "chance": suite.chance,
        "tasks": {
            task: {"score": 100 * results[task_name(suite.name, task)], "items": items}
            for task, items in suite.tasks.items()
        },
    }
    if suite.metric != ACCURACY:
        scores["metric"] = suite.metric
    if suite.sections is not None:
        scores["sections"] = {section: list(tasks) for section, tasks in suite.sections.items()}
    return scores
