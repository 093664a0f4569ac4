"""What `run-study` prints: the plan of a study, its trials, its winners."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablab.cli.common import console, typed
from ablab.runner.line import duration, quantity
from ablab.search.outcome import Judged, Outcome, TrialRow
from ablab.search.points import params_of
from ablab.search.spec import Behind, Categorical, CheckpointPruner, ClearlyWorse, NoPruning, Pruner, Range, StudyDesign
from ablab.spec.canonical import canonical_json
from ablab.spec.edit import dump

if TYPE_CHECKING:
    from ablab.search.prepare import PreparedStudy


def plan_json(prepared: PreparedStudy) -> dict[str, Any]:
    """The plan as JSON-like data."""
    return {
        "label": prepared.chosen.label,
        "scale": prepared.scale,
        "question": prepared.chosen.study.question,
        "design": dump(prepared.design),
        "trials": prepared.trials,
        "base_is_a_trial": prepared.base_is_a_trial(),
        "one_trial": prepared.plan.totals(),
        "fresh_base": prepared.fresh.totals(),
        "prunes": prunes(prepared.design),
        "notes": list(prepared.notes),
    }


def prunes(design: StudyDesign) -> str:
    """What stops a trial early, in words."""
    if len(design.objectives) > 1:
        return f"nothing: a study with {len(design.objectives)} objectives cannot prune"
    rules = []
    if not isinstance(design.checkpoint_pruner, NoPruning):
        rules.append(f"at checkpoints from step {design.checkpoint_pruner.after}: {_rule(design.checkpoint_pruner)}")
    if not isinstance(design.pruner, NoPruning):
        rules.append(f"after {design.pruner.after} of {len(design.replicates)} replicates: {_rule(design.pruner)}")
    return "; ".join(rules) or "nothing: every trial runs every replicate"


def _rule(pruner: Pruner | CheckpointPruner) -> str:
    if isinstance(pruner, Behind):
        what = "validation perplexity" if pruner.is_loss else pruner.metric
        return f"{what} more than {pruner.margin:g} {'%' if pruner.is_loss else 'points'} behind the best trial's"
    if isinstance(pruner, ClearlyWorse):
        return f"more than {pruner.margin:g} points (perplexity: %) worse than the best trial on the same replicates"
    return canonical_json(dump(pruner))


def print_plan(prepared: PreparedStudy) -> None:
    """Space, objectives, budget, cost."""
    totals = prepared.plan.totals()
    print(f"{prepared.chosen.label} at {prepared.scale}: {prepared.chosen.study.question}\n")
    print_space(prepared.design, prepared.trials)
    apart = sum(planned.estimate.seconds for planned in prepared.plan.stages.values()) / 3600
    print(
        f"\nThe first trial: {totals['stages']:.0f} of {len(prepared.plan.stages)} stages to compute, "
        f"{quantity(totals['tokens'])} tokens, {duration(3600 * totals['hours'])} of one "
        f"{prepared.placement.numerics.device} worker\n"
        f"All trials: at most {duration(3600 * apart * prepared.trials)}; stages are shared among trials and with "
        f"ablations, so less\nThe base on fresh replicates: {duration(3600 * prepared.fresh.totals()['hours'])}"
    )
    for note in prepared.notes:
        print(f"note: {note}")


def print_space(design: StudyDesign, trials: int) -> None:
    """Space, objectives, budget and rules."""
    for path, range_ in design.space.items():
        print(f"  {path}: {range_words(range_)}")
    for one in design.objectives:
        print(f"  {one.direction} {one.metric}")
    inside = params_of(design.recipe, design.space) is not None
    budget = design.budget
    print(
        f"\nTrials: {trials}, each with {len(design.replicates)} replicate(s); the first is "
        + ("the base recipe itself" if inside else "drawn (the base is not in the space)")
        + f"\nStopped early: {prunes(design)}\nEnds after {budget.failures_in_a_row} failures in a row"
        + (f", {budget.hours:g} hours" if budget.hours is not None else "")
        + (f", {budget.device_hours:g} hours of computing" if budget.device_hours is not None else "")
        + f"\nThen winner and base on {len(design.fresh)} fresh replicates, judged by final data"
    )


def range_words(range_: Range) -> str:
    """'0.1 to 0.9 by 0.1', or the choices."""
    if isinstance(range_, Categorical):
        return "one of " + ", ".join(canonical_json(choice) for choice in range_.choices)
    steps = f" by {range_.step:g}" if range_.step not in (None, 1) else ""
    return f"{range_.low:g} to {range_.high:g}{steps}{' (logarithmic)' if range_.log else ''}"


def print_outcome(outcome: Outcome, prepared: PreparedStudy, folder: Path) -> None:
    """The trials, and the winners with their fresh values."""
    print_trials(outcome, list(prepared.design.space))
    print(f"\nStopped early: {prunes(prepared.design)}")
    print(f"Tables:  {folder}\nStore:   {prepared.store.root}\nTrials:  {prepared.place.shown}")
    print(f"MLflow:  {typed('ablab')} ui", flush=True)


def print_trials(outcome: Outcome, paths: list[str]) -> None:
    """The trials, and what fresh replicates have shown."""
    from rich.table import Table
    from rich.text import Text

    best = {row.number for row in outcome.best()}
    table = Table(box=None, pad_edge=False, title=f"{outcome.label} at {outcome.scale}: trials", title_justify="left")
    for name in ("trial", *(path.rpartition(".")[2] for path in paths), *outcome.metrics, "replicates", "s", ""):
        table.add_column(name)
    for row in outcome.rows:
        table.add_row(*map(Text, _cells(row, paths, len(outcome.metrics), row.number in best)))
    console().print()
    console().print(table)
    _print_fresh(outcome)
    print(f"\nComputing time of all trials: {duration(outcome.seconds())}")
    for note in outcome.notes:
        print(f"note: {note}")


def _cells(row: TrialRow, paths: list[str], objectives: int, best: bool) -> list[str]:
    values = [f"{v:.4g}" for v in row.values] if row.values is not None else ["-"] * objectives
    by_replicate = " ".join(",".join(f"{v:.4g}" for v in one) for one in row.replicates)
    remark: str = row.state if row.state != "complete" else ("best" if best else "")
    if row.duplicate_of is not None:
        remark = f"= trial {row.duplicate_of}"
    elif row.retried_as is not None:
        remark = f"failed; again as trial {row.retried_as}"
    elif row.cause:
        remark += f": {row.cause.splitlines()[0]}"
    edits = [canonical_json(row.edits[path]) if path in row.edits else "" for path in paths]
    return [str(row.number), *edits, *values, by_replicate, f"{row.seconds:.0f}", remark]


def _print_fresh(outcome: Outcome) -> None:
    from rich.table import Table
    from rich.text import Text

    if not outcome.winners:
        return
    count = len(outcome.base[0].fresh) if outcome.base else 0
    table = Table(
        box=None, pad_edge=False, title=f"On {count} fresh replicates (the winner's curse)", title_justify="left"
    )
    for name in ("", "metric", "searched", "fresh, selection data", "fresh, final data", "95 %", "against the base"):
        table.add_column(name)
    for one in outcome.base:
        table.add_row(*map(Text, _fresh_cells("base", one)))
    for winner in outcome.winners:
        for one in winner.judged:
            table.add_row(*map(Text, _fresh_cells(f"trial {winner.number}", one)))
    console().print()
    console().print(table)
    for winner in outcome.winners:
        if winner.dominated_by:
            others = ", ".join(map(str, winner.dominated_by))
            print(f"trial {winner.number} is no longer on the front: on final data trial {others} dominates it")
    if outcome.base_is_best():
        print("Nothing beat the base: of all trials it is the best itself.")
        return
    values = {path: canonical_json(value) for winner in outcome.winners[:1] for path, value in winner.edits.items()}
    if len(outcome.winners) == 1:
        print("Use it: " + " ".join(f"--set {path}={shlex.quote(value)}" for path, value in values.items()))


def _fresh_cells(name: str, one: Judged) -> list[str]:
    searched = "" if one.searched is None else f"{one.searched:.4g}"
    interval = f"[{one.low:.4g}, {one.high:.4g}]"
    return [name, one.metric, searched, f"{one.reselected:.4g}", f"{one.value:.4g}", interval, one.against_base]
