"""Studies in `ablab list`, `ablab show`, `ablab status` and `ablab publish`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ablab.cli.common import console, print_json
from ablab.cli.study_tables import print_space, print_trials
from ablab.errors import InputError
from ablab.search.check import study_faults
from ablab.search.declared import choose_study, declared_studies, is_study, pinned_studies
from ablab.search.outcome import Outcome, outcome_json
from ablab.search.places import study_place
from ablab.search.spec import Study
from ablab.settings import Settings
from ablab.spec.base import NAME
from ablab.spec.edit import dump

if TYPE_CHECKING:
    from ablab.search.stored import StoredStudy


def studies_in_store(settings: Settings) -> tuple[StoredStudy, ...]:
    """Every study that has been begun. Raises InputError for a database that cannot be used."""
    place = study_place(settings.study_url)
    if place.path is not None and not place.path.exists():
        return ()
    from ablab.search.stored import stored_studies  # Optuna takes half a second to import

    return stored_studies(place)


def study_rows(settings: Settings) -> tuple[list[dict[str, Any]], list[str]]:
    """A row for every study that is declared or pinned, with what was found so far; and what is wrong."""
    declared, faults = declared_studies(settings.project)
    pinned = pinned_studies(settings.project)
    known: dict[str, Study] = {**{name: versions[max(versions)] for name, versions in pinned.items()}, **declared}
    try:
        stored = studies_in_store(settings)
    except InputError as error:
        stored, faults = (), [*faults, *error.faults]
    rows = [
        {
            "name": name,
            "version": study.version,
            "pinned": sorted(pinned.get(name, ())),
            "scales": list(study.designs),
            "question": study.question,
            "begun": [_summary(one) for one in stored if one.study == name],
        }
        for name, study in sorted(known.items())
    ]
    return rows, faults


def _summary(stored: StoredStudy) -> dict[str, Any]:
    found = stored.outcome
    best = [
        {"trial": row.number, "values": dict(zip(found.metrics, row.values or (), strict=True))} for row in found.best()
    ]
    ended = [row for row in found.rows if row.state not in ("running", "waiting") and row.duplicate_of is None]
    return {
        "label": found.label,
        "scale": found.scale,
        "trials": len(ended),
        "running": list(stored.running),
        "best": best,
        "judged": bool(found.winners),
        "seconds": found.seconds(),
    }


def print_studies(rows: list[dict[str, Any]]) -> None:
    """The studies of `ablab list`."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in ("study", "version", "pinned", "scales", "trials done, best"):
        table.add_column(column, no_wrap=column in ("study", "version"))
    for row in rows:
        pinned = ", ".join(f"@{number}" for number in row["pinned"]) or "-"
        begun = "\n".join(map(_begun, row["begun"])) or "-"
        table.add_row(*map(Text, (row["name"], str(row["version"]), pinned, ", ".join(row["scales"]), begun)))
    console().print(table)


def _begun(one: dict[str, Any]) -> str:
    """'ratio-truncation@1 smoke: 4, trial 2 (perplexity 41.2)'."""
    best = "; ".join(
        f"trial {b['trial']} ({', '.join(f'{name} {value:.4g}' for name, value in b['values'].items())})"
        for b in one["best"]
    )
    running = f", {len(one['running'])} running" if one["running"] else ""
    return f"{one['label']} {one['scale']}: {one['trials']}{running}{', ' if best else ''}{best}"


def show_study(settings: Settings, name: str, scale: str, as_json: bool) -> None:
    """Space, objectives, rules, and the trials so far. Raises InputError with the faults of the design, after it."""
    chosen = choose_study(settings.project, name)
    design = chosen.study.design(scale)
    stored = _stored(settings, chosen.label, scale)
    if as_json:
        print_json(
            {
                "label": chosen.label,
                "scale": scale,
                "question": chosen.study.question,
                "design": dump(design),
                "pinned": chosen.pinned,
                "outcome": outcome_json(stored.outcome) if stored else None,
            }
        )
    else:
        print(f"{chosen.label} at {scale}: {chosen.study.question}\n")
        print_space(design, design.budget.trials)
        if stored is not None:
            print_trials(stored.outcome, list(design.space))
        else:
            print("\nNo trial yet.")
    if faults := study_faults(design, f"{chosen.label} at {scale}"):
        raise InputError(faults)


def _stored(settings: Settings, label: str, scale: str) -> StoredStudy | None:
    """The one that was begun last: of `@dev` each content is a study of its own."""
    found = [one for one in studies_in_store(settings) if (one.outcome.label, one.outcome.scale) == (label, scale)]
    return found[-1] if found else None


def trial_rows(settings: Settings, name: str) -> list[dict[str, Any]] | None:
    """The trials of a study by its name, over all versions and scales; None where there is no study of that name."""
    found = [one for one in studies_in_store(settings) if one.study == name]
    if not found and not (NAME.fullmatch(name) and is_study(settings.project, name)):
        return None
    return [row for one in found for row in _trials(one.outcome)]


def _trials(outcome: Outcome) -> list[dict[str, Any]]:
    best = {row.number for row in outcome.best()}
    return [
        {
            "study": outcome.label,
            "scale": outcome.scale,
            "trial": row.number,
            "state": row.state,
            "best": "best" if row.number in best else "",
            "values": dict(zip(outcome.metrics, row.values or (), strict=False)),
            "replicates": len(row.replicates),
            "seconds": row.seconds,
            "execution": row.executions[-1][:12] if row.executions else "",
            "message": row.cause.splitlines()[0] if row.cause else "",
        }
        for row in outcome.rows
    ]
