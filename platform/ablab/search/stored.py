"""Studies as their trials tell them: everything that is shown of a study, read from the database that holds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from pydantic import TypeAdapter

from ablab.errors import InputError, did_you_mean
from ablab.runner.results import results_folder
from ablab.search.outcome import Judged, Outcome, Winner, best_of, judged_json
from ablab.search.places import Place
from ablab.search.rows import rows_of
from ablab.search.spec import Range
from ablab.search.storage import ABOUT, DESIGN, ID, JUDGED, TrialStorage, failing_as_input_error, is_abandoned, opened
from ablab.spec.canonical import canonical_json, digest

SPACE: TypeAdapter[dict[str, Range]] = TypeAdapter(dict[str, Range])


@dataclass(frozen=True)
class StoredStudy:
    """One study at one scale."""

    name: str
    """What its trials are filed under."""
    id: str
    """The same, told apart from a study of that name in another database: MLflow may show both."""
    study: str
    """Of the declaration."""
    design: Mapping[str, Any]
    """Canonical."""
    outcome: Outcome
    running: tuple[int, ...]
    """Trials that a living worker is at."""
    optuna: Any
    """Optuna's own object, for its plots."""

    @property
    def experiment(self) -> str:
        """MLflow's name."""
        return f"study/{self.study}"

    def folder(self, home: Path) -> Path:
        """Where its files lie, whoever ran it and however often."""
        return results_folder(home, self.outcome.label, self.outcome.scale, digest(self.design))


def stored_studies(place: Place) -> tuple[StoredStudy, ...]:
    """Every study of a database, in the order in which they were begun; none where there is no database yet.

    Raises InputError for a database that cannot be used.
    """
    if place.path is not None and not place.path.exists():
        return ()
    with failing_as_input_error(place):
        with place.locked():  # it may make tables
            storage = opened(place)
        frozen = sorted(storage.get_all_studies(), key=lambda one: one._study_id)
        return tuple(_stored(storage, one) for one in frozen if ABOUT in one.user_attrs)


def stored_study(place: Place, name: str) -> StoredStudy:
    """The study whose trials are filed under that name. Raises InputError where there is none."""
    found = {one.name: one for one in stored_studies(place)}
    if name not in found:
        raise InputError(f"no study {name!r} is in {place.shown}; {did_you_mean(name, list(found))}")
    return found[name]


def keep_judged(storage: TrialStorage, outcome: Outcome) -> None:
    """Keep what fresh replicates have shown while they judged the best: another worker may have found a better one."""

    def holds(trials: Sequence[FrozenTrial]) -> bool:
        best = best_of(rows_of(trials, storage.design.space), storage.design.directions)
        return {row.number for row in best} == {winner.number for winner in outcome.winners}

    storage.judged(judged_json(outcome), holds)


def _stored(storage: Any, frozen: Any) -> StoredStudy:
    about, design = frozen.user_attrs[ABOUT], frozen.user_attrs[DESIGN]
    trials = storage.get_all_trials(frozen._study_id, deepcopy=False)
    outcome = Outcome(
        label=about["label"],
        scale=about["scale"],
        question=about["question"],
        metrics=tuple(objective["metric"] for objective in design["objectives"]),
        directions=tuple(objective["direction"] for objective in design["objectives"]),
        rows=rows_of(trials, SPACE.validate_json(canonical_json(design["space"]))),
    )
    begun = [trial for trial in trials if trial.state == TrialState.RUNNING]
    return StoredStudy(
        name=frozen.study_name,
        id=f"{frozen.study_name} {frozen.user_attrs.get(ID, '')}".strip(),
        study=about["study"],
        design=design,
        outcome=_with_winners(outcome, frozen.user_attrs.get(JUDGED)),
        running=tuple(t.number for t in begun if not is_abandoned(storage, frozen._study_id, t)),
        optuna=optuna.load_study(study_name=frozen.study_name, storage=storage),
    )


def _with_winners(outcome: Outcome, judged: Mapping[str, Any] | None) -> Outcome:
    """What fresh replicates have shown, while the trials that they judged are the best."""
    best = [row.number for row in outcome.best()]
    if judged is None or sorted(winner["number"] for winner in judged["winners"]) != sorted(best):
        return outcome
    winners = (
        Winner(w["number"], w["edits"], tuple(map(_judged, w["judged"])), tuple(w["dominated_by"]))
        for w in judged["winners"]
    )
    base = tuple(map(_judged, judged["base"]))
    return replace(outcome, base=base, winners=tuple(winners), notes=tuple(judged["notes"]))


def _judged(data: Mapping[str, Any]) -> Judged:
    return Judged(**{**data, "fresh": tuple(data["fresh"])})
