"""`run-study NAME`: search a space of recipes, judge the winner on fresh replicates, publish to MLflow."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablab.cli import completion
from ablab.cli.common import Parser, add_generation_workers, add_json, edits_of, guarded, parsed, print_json
from ablab.cli.completion import completed_by
from ablab.errors import RunError, collecting

if TYPE_CHECKING:
    from ablab.search.outcome import Outcome

EXAMPLES = """\
  run-study ratio-truncation                       scale smoke, a few minutes
  run-study ratio-truncation --plan                the space, the budget, what it may cost; computes nothing
  run-study ratio-truncation --trials 12           go on until there are 12 trials
  run-study ratio-truncation@dev                   a declaration that still changes; its trials are kept apart

Interrupt it at any moment: the same command goes on, and a trial that was begun is not counted twice. Several commands
at once are several workers of one study."""


def main() -> None:
    sys.exit(guarded(_main))


def _main() -> int:
    from ablab.search.prepare import prepare_study
    from ablab.settings import load_settings

    arguments = parsed(parser())
    settings = load_settings()
    faults: list[str] = []
    numerics: dict[str, Any] = {}
    with collecting(faults):
        numerics = edits_of(arguments.numerics, "--numerics")
    prepared = prepare_study(
        settings,
        arguments.name,
        arguments.scale,
        trials=arguments.trials,
        jobs=arguments.jobs,
        numerics=numerics,
        generation_workers=arguments.generation_workers,
        purpose="plan" if arguments.plan else "run",
        known=faults,
    )
    if arguments.plan:
        from ablab.cli.study_tables import plan_json, print_plan

        print_json(plan_json(prepared)) if arguments.json else print_plan(prepared)
        return 0
    from rich.console import Console

    from ablab.cli.common import console
    from ablab.cli.study_tables import print_outcome
    from ablab.runner.progress import make_view
    from ablab.search.outcome import outcome_json
    from ablab.search.run import run_study

    view = make_view(Console(stderr=True) if arguments.json else console())

    def show(outcome: Outcome, folder: Path) -> None:
        print_json(outcome_json(outcome)) if arguments.json else print_outcome(outcome, prepared, folder)
        sys.stdout.flush()

    unpublished = run_study(prepared, settings, view, show)
    if unpublished:
        raise RunError(f"the study has ended and its results are stored, but MLflow does not show them: {unpublished}")
    return 0


def parser() -> Parser:
    made = Parser(prog="run-study", description=__doc__, examples=EXAMPLES)
    name = made.add_argument("name", metavar="NAME[@VERSION|@dev]", help="a study in experiments/studies/")
    scale = made.add_argument(
        "--scale", default="smoke", help="which of its designs: smoke (default), small, paper, ..."
    )
    completed_by(name, completion.studies)
    completed_by(scale, completion.study_scales)
    made.add_argument("--trials", type=int, help="trials in all, over every command so far (default: its budget)")
    made.add_argument("--jobs", type=int, help="stages computed at once (default: one per core, one per GPU)")
    add_generation_workers(made)
    made.add_argument(
        "--numerics",
        metavar="FIELD=VALUE",
        action="append",
        default=[],
        help="threads, micro_batch, device, ...: results stay equal within rounding; may be repeated",
    )
    made.add_argument("--plan", action="store_true", help="show the space, the budget and the cost; compute nothing")
    add_json(made)
    return made


if __name__ == "__main__":
    main()
