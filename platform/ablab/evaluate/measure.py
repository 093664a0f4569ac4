"""What the stages do with a model: suites through lm-eval, perplexity, item-level outcomes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer

from ablab.evaluate import harness
from ablab.evaluate.harness import task_name
from ablab.evaluate.items import Outcome, Suite, write_items
from ablab.evaluate.lm import ScoredLM
from ablab.evaluate.metrics import ACCURACY
from ablab.evaluate.neural import NeuralScorer
from ablab.evaluate.perplexity import language_modelling, read_stream
from ablab.evaluate.scoring import TokenScorer
from ablab.store.context import StageContext


@dataclass(frozen=True)
class Measured:
    """Of one model: the entry of every suite in a stage's result (scores in %), and every item."""

    suites: Mapping[str, dict[str, Any]]
    outcomes: Sequence[Outcome]


def measure(ctx: StageContext, scorer: TokenScorer, tokenizer: Tokenizer) -> dict[str, Any]:
    """Write `items.parquet`; return `suites` (scores in %) and `language_modelling` of the stage's result."""
    measured = measure_suites(ctx, scorer, tokenizer)
    write_items(ctx.out / "items.parquet", measured.outcomes)
    stream = read_stream(ctx.inputs["tokens"], "test", ctx.params["test_tokens"])
    return {"suites": measured.suites, "language_modelling": language_modelling(scorer, stream)}


def measure_suites(
    ctx: StageContext,
    scorer: TokenScorer,
    tokenizer: Tokenizer,
    names: Sequence[str] | None = None,
    first: int | None = None,
) -> Measured:
    """Suites with these names (None: all), and the first so many items of every task."""
    built = harness.build(ctx.inputs["suite"], ctx.locations, names, first)
    evaluated = harness.run(ScoredLM(scorer, tokenizer, ctx.inputs["requests"]), built)
    suites = {suite.name: _suite_scores(suite, evaluated.results) for suite in built.suites}
    outcomes: list[Outcome] = list(evaluated.outcomes)
    listed = json.loads((ctx.inputs["suite"] / "result.json").read_text(encoding="utf-8"))["suites"]
    if isinstance(scorer, NeuralScorer) and any("lm_eval" in entry for entry in listed.values()):
        tasks = _lm_evals_own(ctx, scorer, names, first)
        suites |= tasks.suites
        outcomes += tasks.outcomes
    return Measured({name: suites[name] for name in listed if name in suites}, outcomes)


def _lm_evals_own(ctx: StageContext, scorer: NeuralScorer, names: Sequence[str] | None, first: int | None) -> Measured:
    """Suites of lm-eval's own tasks. Imported where there are any: its model and data sets take seconds."""
    from ablab.evaluate.external import judge, read_external, result_of
    from ablab.evaluate.lm_eval import AblabLM

    lm = AblabLM(scorer, ctx.inputs["tokenizer"], ctx.numerics.evaluation_rows)
    judged = [(suite, judge(lm, suite)) for suite in read_external(ctx.inputs["suite"], names, first)]
    return Measured(
        {suite.name: result_of(suite, found) for suite, found in judged},
        [outcome for _, found in judged for outcome in found.outcomes],
    )


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
