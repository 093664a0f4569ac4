"""What every command shares: one error boundary, help with examples, JSON or tables."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from ablab.cli import completion
from ablab.cli.completion import Completer, completed_by
from ablab.errors import AblabError, InputError, RunError

if TYPE_CHECKING:
    from rich.console import Console

EXIT_INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """Help keeps the examples as they are written; usage errors exit 2 like every other bad input."""

    def __init__(self, prog: str | None = None, *, description: str, examples: str, **options: Any) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=f"examples:\n{examples}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **options,
        )

    def error(self, message: str) -> NoReturn:
        self.exit(InputError.exit_code, f"error: {message}\n{self.format_usage()}")


def guarded(command: Callable[[], int | None]) -> int:
    """Run a command. InputError exits 2 with every fault, RunError 1 with how to resume, an interrupt 130."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        return command() or 0
    except InputError as error:
        for fault in error.faults:
            print(f"error: {fault}", file=sys.stderr)
        return error.exit_code
    except RunError as error:
        print(f"failed: {error}", file=sys.stderr)
        return error.exit_code
    except AblabError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; what is finished is kept, and the same command goes on from here", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader of a pipe has gone (`ablab list | head`): nothing is wrong
        return 0


def parsed(parser: Parser) -> argparse.Namespace:
    """The command line as it was typed; where a shell asks for what could come next, that is printed and all ends."""
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(parser)
    return parser.parse_args()


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def add_generation_workers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--generation-workers",
        metavar="N",
        type=int,
        default=1,
        help="processes that decode one corpus together, with the threads of one job or a GPU each (default: 1)",
    )


def add_selection(parser: argparse.ArgumentParser, names: Completer = completion.ablations) -> None:
    """The arguments that name a design. names: what a shell completes the name with."""
    name = parser.add_argument("name", metavar="NAME[@VERSION|@dev]", help="an ablation (see `ablab list`)")
    scale = parser.add_argument(
        "--scale", default="smoke", help="which of its designs: smoke (default), small, paper, ..."
    )
    completed_by(name, names)
    completed_by(scale, completion.scales)
    parser.add_argument(
        "--set",
        dest="edits",
        metavar="PATH=VALUE",
        action="append",
        default=[],
        help="edit the control recipe, for example --set schedule.steps=200; may be repeated",
    )


def edits_of(assignments: Sequence[str], option: str = "--set") -> dict[str, Any]:
    """The edits of a repeated option."""
    from ablab.spec.edit import parse_set

    faults: list[str] = []
    edits: dict[str, Any] = {}
    for assignment in assignments:
        try:
            path, value = parse_set(assignment)
        except InputError as error:
            faults += [fault.replace("--set", option, 1) for fault in error.faults]
            continue
        if path in edits:
            faults.append(f"{option}: {path} is set twice; keep one of the two")
        edits[path] = value
    if faults:
        raise InputError(faults)
    return edits


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False))


def console() -> Console:
    """Standard output; at least 100 columns where it is no terminal."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=120, soft_wrap=False)


def typed(program: str) -> str:
    """A program of this environment as it can be typed here: its path where the search path does not have it."""
    beside = Path(sys.executable).with_name(program)
    if shutil.which(program) or not beside.exists():
        return program
    return str(beside.relative_to(Path.cwd())) if beside.is_relative_to(Path.cwd()) else str(beside)


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
