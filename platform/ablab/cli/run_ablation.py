"""`run-ablation NAME`: run one ablation, compare its arms, publish to MLflow."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablab.cli import completion
from ablab.cli.common import (
    Parser,
    add_generation_workers,
    add_json,
    add_selection,
    console,
    edits_of,
    guarded,
    parsed,
    print_json,
    typed,
)
from ablab.cli.completion import completed_by
from ablab.errors import RunError, collecting
from ablab.runner.line import duration, quantity

if TYPE_CHECKING:
    from ablab.runner.plan import Plan
    from ablab.runner.prepare import Prepared
    from ablab.runner.run import RunResult

EXAMPLES = """\
  run-ablation contrastive-vs-masked                          the demonstration: scale smoke, a few minutes
  run-ablation contrastive-vs-masked --scale paper --plan     what the study would cost; computes nothing
  run-ablation contrastive-vs-masked --set schedule.steps=200 another length of training for every arm
  run-ablation contrastive-vs-masked@1 --jobs 1               a pinned version, one stage at a time
  run-ablation mixing-ratio --arms share-0.3 --replicates 1   a pilot of one arm beside the control

Interrupt it at any moment: the same command goes on. What is in the store is never computed again."""


def main() -> None:
    sys.exit(guarded(_main))


def _main() -> int:
    from ablab.settings import load_settings

    arguments = parsed(parser())
    from ablab.runner.prepare import Part, prepare

    settings = load_settings()
    faults: list[str] = []
    numerics: dict[str, Any] = {}
    edits: dict[str, Any] = {}
    with collecting(faults):
        numerics = edits_of(arguments.numerics, "--numerics")
    with collecting(faults):
        edits = edits_of(arguments.edits)
    prepared = prepare(
        settings,
        arguments.name,
        arguments.scale,
        edits,
        jobs=arguments.jobs,
        numerics=numerics,
        generation_workers=arguments.generation_workers,
        purpose="plan" if arguments.plan else "read" if arguments.find_micro_batch else "run",
        part=Part(tuple(filter(None, (name.strip() for name in arguments.arms.split(",")))), arguments.replicates),
        known=faults,
    )
    if arguments.plan:
        print_json(_plan_json(prepared)) if arguments.json else print_plan(prepared)
        return 0
    return _find_micro_batch(prepared) if arguments.find_micro_batch else _run(arguments, prepared)


def _find_micro_batch(prepared: Prepared) -> int:
    """Try a step of every shape of training, and say what to pass to the run."""
    from ablab.runner.fitting import fitting_micro_batches

    sizes = []
    for found in fitting_micro_batches(prepared.plan, prepared.placement.numerics):
        size = "not even one fits" if found.micro_batch is None else f"micro_batch={found.micro_batch} fits"
        print(f"{found.title}: {size}, of {found.blocks} blocks a step", flush=True)
        sizes.append(found.micro_batch or 0)
    if not sizes:
        print("Nothing is to be trained.")
    elif min(sizes):
        print(f"Run with: --numerics micro_batch={min(sizes)}")
    return 0 if all(sizes) else 1


def _run(arguments: argparse.Namespace, prepared: Prepared) -> int:
    from rich.console import Console

    from ablab.runner.progress import make_view
    from ablab.runner.run import run_prepared
    from ablab.settings import load_settings
    from ablab.spec.canonical import canonical_json

    settings = load_settings()
    # with --json, standard output carries the result alone
    screen = Console(stderr=True) if arguments.json else console()
    screen.print(
        f"{prepared.label} at {prepared.scale}: {sum(1 for _ in prepared.plan.todo())} of "
        f"{len(prepared.plan.stages)} stages to compute, {prepared.placement.jobs} at once",
        highlight=False,
        markup=False,
    )
    for line in prepared.corpora:
        screen.print(line, highlight=False, markup=False)
    if prepared.edits:
        edited = ", ".join(f"{path}={canonical_json(value)}" for path, value in prepared.edits.items())
        screen.print(f"edited: {edited}", highlight=False, markup=False)

    def show(result: RunResult) -> None:
        """Before MLflow is waited for."""
        if not arguments.json:
            print_result(result, prepared, settings.home)
            print("\nPublishing to MLflow ...", flush=True)

    result = run_prepared(prepared, settings, make_view(screen), show)
    if arguments.json:
        print_json(
            {
                "execution": result.execution,
                "folder": str(result.folder),
                "comparison": json.loads(result.comparison.to_json()),
                "corpora": result.corpora,
                "apart": [one.to_json() for one in result.apart],
            }
        )
    if result.unpublished:
        raise RunError(result.unpublished)
    return 0


def parser() -> Parser:
    """The command's arguments."""
    made = Parser(
        prog="run-ablation",
        description="Run one ablation: train, generate, evaluate, compare. Shared stages are computed once.",
        examples=EXAMPLES,
    )
    add_selection(made)
    made.add_argument("--plan", action="store_true", help="show stages, keys and costs; compute nothing")
    arms = made.add_argument("--arms", metavar="A,B", default="", help="these arms and the control only (default: all)")
    completed_by(arms, completion.arms)
    made.add_argument(
        "--find-micro-batch", action="store_true", help="try which micro-batch fits the memory; compute nothing else"
    )
    made.add_argument("--replicates", metavar="N", type=int, help="the first N replicates only (default: all)")
    made.add_argument("--jobs", type=int, default=None, help="stages at once (default: one per core, or one per GPU)")
    add_generation_workers(made)
    made.add_argument(
        "--numerics",
        metavar="FIELD=VALUE",
        action="append",
        default=[],
        help="threads, micro_batch, decoder_rows, evaluation_rows, compile, ranks, zero_stage, offload_optimizer, "
        "activation_checkpointing, deepspeed (a JSON file), device: never part of a key",
    )
    add_json(made)
    return made


def _plan_json(prepared: Prepared) -> dict[str, Any]:
    from ablab.spec.amounts import amounts

    taken_in = {arm: vars(amounts(recipe)) for arm, recipe in prepared.recipes().items()}
    return prepared.plan.to_json() | {"training_text": taken_in, "notes": prepared.notes}


def print_plan(prepared: Prepared) -> None:
    """The plan as a table, and what it costs in all."""
    from rich.table import Table
    from rich.text import Text

    from ablab.cli.amounts import print_amounts

    plan = prepared.plan
    table = Table(title=Text(f"{prepared.label} at {prepared.scale}"), title_justify="left", pad_edge=False, box=None)
    for name in ("stage", "key", "state", "why"):
        table.add_column(name, no_wrap=name != "why")
    for name in ("tokens", "FLOPs", "storage", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    for planned in plan.stages.values():
        cost = planned.estimate
        key = planned.key[:12] if not prepared.notes else "?"
        numbers = [quantity(cost.tokens), f"{cost.flops:.1e}", quantity(cost.bytes, "B"), duration(cost.seconds)]
        table.add_row(*map(Text, (planned.title, key, planned.state, planned.why, *numbers)))
    console().print(table)
    print_amounts(prepared.recipes(), console(), _real_tokens(prepared))
    _print_totals(plan, prepared)


def _real_tokens(prepared: Prepared) -> int | None:
    """Of the train split, where it is in the store and the same for all arms."""
    stages = {one.roles["tokens"].key for lowered in prepared.plan.arms.values() for one in lowered}
    if len(stages) != 1 or not prepared.store.has("tokens", next(iter(stages))):
        return None
    return int(prepared.store.result("tokens", next(iter(stages)))["tokens"]["train"])


def _print_totals(plan: Plan, prepared: Prepared) -> None:
    from ablab.runner.estimate import FLOPS_PER_SECOND

    totals = plan.totals()
    numerics = prepared.placement.numerics
    gpu = plan.hours_on(numerics.model_copy(update={"device": "cuda"}))
    print(
        f"\nTo compute: {totals['stages']:.0f} of {len(plan.stages)} stages "
        f"({plan.stages_apart()} if arms and replicates shared nothing)\n"
        f"{quantity(totals['tokens'])} tokens, {totals['flops']:.2e} FLOPs, "
        f"{quantity(totals['bytes'], 'B')} of storage\n"
        f"{totals['hours']:,.2f} hours of one {numerics.device} worker with {numerics.threads} thread(s); "
        f"{gpu:,.2f} hours of one data-centre GPU (assumed rates: {FLOPS_PER_SECOND['cpu']:.0e} FLOP/s a thread, "
        f"{FLOPS_PER_SECOND['cuda']:.0e} a GPU)"
    )
    for line in prepared.corpora:
        print(line)
    for note in prepared.notes:
        print(f"note: {note}")


def print_result(result: RunResult, prepared: Prepared, home: Path) -> None:
    """The comparison, where everything lies, and how to open it."""
    from ablab.analysis import render
    from ablab.cli.tables import print_apart, print_corpora

    screen = console()
    screen.print()
    render(result.comparison, screen)
    print_corpora(result.corpora, screen)
    print_apart(result.apart, screen)
    print(
        f"\nStages: {result.computed} computed, {result.needed - result.computed} taken from the store; "
        f"{result.needed} different ones instead of {result.stages_apart} unshared."
    )
    print(f"Tables:  {result.folder}")
    print(f"Store:   {prepared.store.root}")
    print(f"Logs:    {home / 'logs' / result.execution}")
    program = typed("ablab")
    print(
        f"MLflow:  {program} ui        Again: {program} compare {prepared.label} --scale {prepared.scale}", flush=True
    )
