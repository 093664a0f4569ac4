"""`ablab`: look at ablations and results, pin versions, rebuild what can be rebuilt."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from ablab.cli import completion
from ablab.cli.common import Parser, add_json, add_selection, guarded, parsed
from ablab.cli.completion import completed_by

EXAMPLES = """\
  ablab list                                        every ablation with its question and versions
  ablab show contrastive-vs-masked --scale smoke    arms, edits, claims
  ablab compare contrastive-vs-masked               scores, differences, verdicts of what is finished
  ablab ui                                          MLflow with everything that was published

`run-ablation NAME` runs one; `ablab COMMAND --help` has examples for each command."""


def main() -> None:
    sys.exit(guarded(_main))


def _main() -> int | None:
    arguments = parsed(parser())
    module, _, function = arguments.handler.partition(":")
    result: int | None = getattr(import_module(module), function)(arguments)
    return result


def parser() -> Parser:
    """All commands. Their code is imported when one is run."""
    made = Parser(prog="ablab", description=__doc__, examples=EXAMPLES)
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _reading(commands)
    _results(commands)
    _upkeep(commands)
    _starting(commands)
    _storage(commands)
    return made


def _reading(commands: argparse._SubParsersAction[Parser]) -> None:
    one = _command(commands, "list", "every ablation", "show:list_ablations", "  ablab list\n  ablab list --json")
    add_json(one)

    one = _command(
        commands,
        "show",
        "arms, edits, replicates and claims of an ablation",
        "show:show",
        "  ablab show contrastive-vs-masked\n  ablab show contrastive-vs-masked@1 --scale paper --json",
    )
    add_selection(one, completion.declared)
    add_json(one)

    one = _command(
        commands,
        "diff",
        "what differs between two versions, arms, executions or stages: identity and numerics",
        "diff:diff",
        "  ablab diff contrastive-vs-masked@1 contrastive-vs-masked@dev\n"
        "  ablab diff contrastive-vs-masked:masked-only contrastive-vs-masked:contrastive --scale smoke\n"
        "  ablab diff 3f2a91c0 88d1e77b          (two execution ids or stage keys, the first digits)",
    )
    left = one.add_argument("left", metavar="LEFT", help="NAME[@VERSION][:ARM], an execution id or a stage key")
    right = one.add_argument("right", metavar="RIGHT", help="the same")
    completed_by(left, completion.ablations)
    completed_by(right, completion.ablations)
    one.add_argument("--scale", default="smoke", help="of names (default smoke)")
    add_json(one)

    one = _command(
        commands,
        "status",
        "runs, the stages of one run, the trials of a study",
        "status:status",
        "  ablab status\n  ablab status 3f2a91c0\n  ablab status ratio-truncation",
    )
    execution = one.add_argument(
        "execution", nargs="?", metavar="EXECUTION", help="id, or its first digits, or a study; default: all runs"
    )
    completed_by(execution, completion.studies)
    add_json(one)


def _results(commands: argparse._SubParsersAction[Parser]) -> None:
    one = _command(
        commands,
        "compare",
        "scores, differences and verdicts of what is finished",
        "compare:compare",
        "  ablab compare contrastive-vs-masked --scale smoke\n  ablab compare contrastive-vs-masked@1 --json\n"
        "  ablab compare contrastive-vs-masked mixing-ratio      (arms of both in one table, where comparable)\n"
        "  ablab compare 3f2a91c0                                (a run as it was, by the first digits of its id)",
    )
    add_selection(one)
    others = one.add_argument(
        "others",
        metavar="OTHER",
        nargs="*",
        help="further ablations, versions or ids of runs, set beside the first by equal replicates",
    )
    completed_by(others, completion.ablations)
    add_json(one)

    one = _command(
        commands,
        "report",
        "one HTML page of what was found, and figures and tables for a paper",
        "report:report",
        "  ablab report contrastive-vs-masked --scale smoke\n  ablab report contrastive-vs-masked@1 --out paper\n"
        "  ablab report 3f2a91c0             (the design of an execution, by the first digits of its id)",
    )
    add_selection(one)
    one.add_argument("--out", metavar="DIR", help="folder to write to (default: beside the tables of the results)")
    add_json(one)

    one = _command(
        commands,
        "claims",
        "verdicts of every claim of every ablation with results",
        "claims:claims",
        "  ablab claims\n  ablab claims --json",
    )
    add_json(one)

    one = _command(
        commands,
        "power",
        "from what is finished: how many replicates an effect needs, and what they cost",
        "power:power",
        "  ablab power contrastive-vs-masked --scale smoke\n  ablab power contrastive-vs-masked --effect 0.5 --json",
    )
    add_selection(one)
    one.add_argument(
        "--effect",
        type=float,
        default=1.0,
        metavar="SIZE",
        help="difference that a run shall find, in points (perplexity: in %%); default 1",
    )
    add_json(one)


def _upkeep(commands: argparse._SubParsersAction[Parser]) -> None:
    one = _command(
        commands,
        "lock",
        "pin the declaration of an ablation under its version number",
        "upkeep:lock",
        "  ablab lock contrastive-vs-masked",
    )
    completed_by(one.add_argument("name", metavar="NAME"), completion.declared)

    _command(
        commands,
        "reindex",
        "rebuild the registry database from pinned versions and the store",
        "upkeep:reindex",
        "  ablab reindex",
    )

    one = _command(
        commands,
        "publish",
        "rebuild MLflow from the store (what is there already is left alone)",
        "upkeep:publish",
        "  ablab publish\n  ablab publish contrastive-vs-masked",
    )
    name = one.add_argument("name", nargs="?", metavar="NAME", help="only this ablation or study")
    completed_by(name, completion.declared)
    add_json(one)

    one = _command(
        commands,
        "ui",
        "start MLflow and optuna-dashboard on the embedded databases and say what to open",
        "ui:ui",
        "  ablab ui\n  ablab ui --port 5001 --studies-port 8081",
    )
    one.add_argument("--port", type=int, default=5000, help="of MLflow (default 5000)")
    one.add_argument("--studies-port", type=int, default=8080, help="of optuna-dashboard (default 8080)")
    one.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1: this machine alone)")


def _starting(commands: argparse._SubParsersAction[Parser]) -> None:
    one = _command(commands, "init", "start a project of one's own", "starting:init", "  ablab init my-study")
    one.add_argument("directory", metavar="DIR", help="a new or empty folder")

    one = _command(
        commands,
        "new",
        "write a declaration to edit",
        "starting:new",
        "  ablab new my-ablation\n  ablab new longer-training --from my-ablation",
    )
    one.add_argument("name", metavar="NAME", help="of the ablation: letters, digits, '.', '_', '-'")
    source = one.add_argument("--from", dest="source", metavar="EXISTING", help="copy this declaration instead")
    completed_by(source, completion.ablations)

    one = _command(
        commands,
        "doctor",
        "check Python, DeepSpeed, devices, databases, disk and data",
        "doctor:doctor",
        "  ablab doctor\n  ablab doctor --json",
    )
    add_json(one)

    one = _command(
        commands,
        "schema",
        "JSON Schema of what can be declared",
        "schema:schema",
        "  ablab schema\n  ablab schema recipe",
    )
    one.add_argument("kind", nargs="?", metavar="KIND", help="ablation (default), recipe, placement")
    add_json(one)

    one = _command(
        commands,
        "completion",
        "shell code that completes commands, options, ablations, arms, scales and studies",
        "completion:completion",
        '  eval "$(ablab completion bash)"                 in ~/.bashrc\n'
        '  eval "$(ablab completion zsh)"                  in ~/.zshrc\n'
        "  ablab completion fish | source                   in ~/.config/fish/config.fish",
    )
    one.add_argument("shell", choices=completion.SHELLS)


def _storage(commands: argparse._SubParsersAction[Parser]) -> None:
    one = _command(
        commands,
        "gc",
        "show what the store could do without, and remove it with --apply",
        "gc:gc",
        "  ablab gc\n  ablab gc --apply\n  ablab gc --forget 3f2a91c0",
    )
    one.add_argument("--apply", action="store_true", help="remove it; without this nothing is touched")
    one.add_argument(
        "--forget", action="append", default=[], metavar="EXECUTION", help="as if this run were not recorded"
    )
    add_json(one)

    one = _command(
        commands,
        "data",
        "corpora and suites of an ablation: what is there, and fetching what is not",
        "data:data",
        "  ablab data list contrastive-vs-masked --scale paper\n  ablab data fetch contrastive-vs-masked --scale paper",
    )
    one.add_argument("action", choices=("list", "fetch"))
    add_selection(one)
    add_json(one)


def _command(
    commands: argparse._SubParsersAction[Parser], name: str, summary: str, handler: str, examples: str
) -> Parser:
    made = commands.add_parser(name, help=summary, description=summary, examples=examples)
    made.set_defaults(handler=f"ablab.cli.{handler}")
    return made
