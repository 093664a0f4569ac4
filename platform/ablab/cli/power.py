"""`ablab power`: how many replicates an effect needs, and what they cost, from what is finished."""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ablab.analysis import Comparison
from ablab.analysis.power import Power, claim_powers, metric_powers, task_powers
from ablab.analysis.report.costs import stage_costs
from ablab.analysis.report.gather import tasks_of
from ablab.cli.common import console, edits_of, print_json
from ablab.errors import InputError
from ablab.runner.prepare import prepare
from ablab.runner.recorded import prepared_roles
from ablab.runner.results import compare_roles
from ablab.settings import load_settings
from ablab.spec.ablation import Design
from ablab.store.executions import Roles

if TYPE_CHECKING:
    from rich.console import Console


def power(arguments: argparse.Namespace) -> None:
    """Take whatever is finished for a pilot."""
    if not arguments.effect > 0.0:
        raise InputError(f"--effect={arguments.effect:g} must be above 0: the difference that a run shall find")
    settings = load_settings()
    prepared = prepare(settings, arguments.name, arguments.scale, edits_of(arguments.edits))
    roles = prepared_roles(prepared)
    comparison = compare_roles(prepared.design, roles, prepared.store)
    claims, metrics = claim_powers(comparison, arguments.effect), metric_powers(comparison, arguments.effect)
    tasks = task_powers(tasks_of(prepared.design, roles, prepared.store), arguments.effect)
    hours = {key: cost.device_hours for (_, key), cost in stage_costs(roles, prepared.store).items()}
    every = hours_per_replicate(roles, hours, roles)
    pairs = {id_: hours_per_replicate(roles, hours, {p.arm, p.against}) for id_, p in claims.items()}
    if arguments.json:
        print_json(
            {
                "claims": {id_: dataclasses.asdict(p) | {"device_hours": pairs[id_]} for id_, p in claims.items()},
                "metrics": [dataclasses.asdict(p) for p in metrics],
                "tasks": [{"suite": suite} | dataclasses.asdict(p) for suite, p in tasks],
                "device_hours_per_replicate": every,
                "noise_floor": _noise_floor(prepared.design, comparison),
            }
        )
        return
    screen = console()
    screen.print(
        f"{prepared.label} at {prepared.scale}, replicates that find a difference of {arguments.effect:g} points"
    )
    screen.print("(perplexity: %) in four of five runs; in brackets, should the pilot's spread be small by chance\n")
    _print_claims(claims, pairs, screen)
    left_out = [claim.id for claim in comparison.claims if claim.id not in claims]
    if left_out:
        screen.print(f"The pilot shows no spread for {', '.join(left_out)}.\n")
    _print_metrics(metrics, _noise_floor(prepared.design, comparison), screen)
    _print_tasks(tasks, arguments.effect, screen)
    if every is not None:
        screen.print(f"One more replicate of all {len(roles)} arms takes {every:.2f} device-hours, as recorded.")


def hours_per_replicate(roles: Roles, hours: Mapping[str, float], arms: Collection[str]) -> float | None:
    """Device-hours that one more replicate of these arms takes: the stages that it does not share, each once.

    Replicates share the corpus, the tokenizer and mostly GOOD, which may be the training of one replicate's own arm; so
    the replicates with most stages of their own are asked. A stage that is not finished costs what those of its arm and
    role cost on average. None where nothing tells.
    """
    positions: dict[str, set[int]] = {}
    where: dict[str, str] = {}
    typical: dict[str, list[float]] = {}  # hours of every role of every arm
    for arm in arms:
        for position, one in enumerate(roles[arm]):
            for role, (_, key) in one.items():
                positions.setdefault(key, set()).add(position)
                where.setdefault(key, f"{arm} {role}")
                if key in hours:
                    typical.setdefault(f"{arm} {role}", []).append(hours[key])
    own: dict[int, list[str]] = {}
    for key, used in positions.items():
        if len(used) == 1:
            own.setdefault(min(used), []).append(key)
    fullest = [keys for keys in own.values() if len(keys) == max(map(len, own.values()))]
    known = [
        [hours.get(key, statistics.fmean(typical[where[key]])) for key in keys if where[key] in typical]
        for keys in fullest
    ]
    return statistics.fmean(map(sum, known)) if any(known) else None


def _noise_floor(design: Design, comparison: Comparison) -> dict[str, float]:
    """By metric, the difference between the control and itself with other seeds (A/A); empty without such an arm."""
    again = [arm.name for arm in design.arms if not arm.edits and arm.of in (None, design.control) and arm.seed_offset]
    effects = [effect for effect in comparison.effects if effect.arm in again and effect.against == design.control]
    return {effect.metric: effect.estimate for effect in effects}


def _print_claims(claims: Mapping[str, Power], hours: Mapping[str, float | None], screen: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in ("claim", "metric", "pilot", "finds now", "replicates", "device-hours more"):
        table.add_column(column, justify="left" if column in ("claim", "metric") else "right")
    for id_, one in claims.items():
        more = None if one.needed is None else max(0, one.needed - one.replicates)
        each = hours[id_]
        cost = "" if more is None or each is None else f"{more * each:.2f}"
        cells = (id_, one.metric, f"{one.estimate:+.2f}", f"{one.detectable:.2f}", _needed(one), cost)
        table.add_row(*map(Text, cells))
    screen.print(table)
    screen.print()


def _print_metrics(metrics: Sequence[Power], noise: Mapping[str, float], screen: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    screen.print(Text("An arm against the control, spreads of all arms pooled", style="bold"))
    table = Table(box=None, pad_edge=False)
    names = ["metric", "sd of a replicate", "of items", "finds now", "finds at best", "replicates"]
    for column in [*names, *(["A/A"] if noise else [])]:
        table.add_column(column, justify="left" if column == "metric" else "right")
    for one in metrics:
        cells: list[Any] = [one.metric, *(f"{v:.2f}" for v in (one.replicate_sd, one.item_sd, one.detectable))]
        cells += [f"{one.limit:.2f}", _needed(one)]
        cells += [f"{noise[one.metric]:+.2f}" if one.metric in noise else ""] if noise else []
        table.add_row(*map(Text, cells))
    screen.print(table)
    screen.print(Text("finds at best: with any number of replicates, as the items are too few for less\n", style="dim"))


def _print_tasks(tasks: Sequence[tuple[str, Power]], effect: float, screen: Console) -> None:
    """Suite by suite, the tasks that some number of replicates lets show the effect."""
    from rich.padding import Padding
    from rich.text import Text

    if not tasks:
        return
    screen.print(Text(f"Tasks that can show {effect:g} points, with how many replicates", style="bold"))
    for suite in dict.fromkeys(suite for suite, _ in tasks):
        every = [power for of, power in tasks if of == suite]
        able = sorted((p for p in every if p.needed is not None), key=lambda p: p.needed or 0)
        listed = ", ".join(f"{p.metric} ({p.needed})" for p in able)
        least = min(p.limit for p in every)
        words = (
            f"{len(able)} of {len(every)}: {listed}" if able else f"none of {len(every)}; at best {least:.1f} points"
        )
        screen.print(Padding(Text(f"{suite}: {words}"), (0, 0, 0, 2), expand=False))
    screen.print()


def _needed(one: Power) -> str:
    if one.needed is None:
        return "none is enough" if one.limit > one.effect else "over 1,000"
    most = "over 1,000" if one.needed_at_most is None else str(one.needed_at_most)
    return f"{one.needed} [{most}]"
