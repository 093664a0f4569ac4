"""Trials in Optuna's database: opened, claimed by one worker at a time, kept by a heartbeat, told once.

`Study.ask` does not know that the worker of a trial died. Here every trial names its owner, and its owner keeps it by a
heartbeat. A trial whose owner is certainly dead (as leases tell it) or silent goes on under its number with whoever
asks next: what was computed is in the store, so nothing is counted or computed twice. Claiming and telling happen
under one lock, so a budget is never exceeded and an owner that was silent too long can tell and note nothing.
"""

from __future__ import annotations

import threading
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from ablab.errors import InputError, RunError
from ablab.registry.process import Process, is_dead, this_process
from ablab.search.places import Place
from ablab.search.points import params_of
from ablab.search.proposals import pruner_of, sampler_of
from ablab.search.spec import StudyDesign
from ablab.spec.ablation import differing_paths
from ablab.spec.canonical import digest

HEARTBEAT_S, SILENT_S = 10, 60
OWNER, DESIGN, DATA, CAUSE, DUPLICATE, IDENTITY = "owner", "design", "data", "cause", "duplicate_of", "identity"
GIVEN_BACK: dict[str, Any] = {}
"""The owner of a trial that was interrupted."""
RETRY_OF, EXECUTIONS, REPLICATES, SECONDS, COMPUTED = "retry_of", "executions", "replicates", "seconds", "computed"
CHECKPOINTS = "checkpoints"
ABOUT, JUDGED, ID = "about", "judged", "id"  # of the study


class TakenOver(RunError):
    """A trial now belongs to another worker."""

    def __init__(self, number: int, study: str) -> None:
        super().__init__(
            f"trial {number} of {study} was taken over by another worker, because this one was silent for too long; "
            "its result is not counted",
            "run the same command again: it goes on with the trials that are left",
        )


REMEDY = "finished stages are safe in the store; make the database reachable and run the same command: it goes on"


class TrialStorage:
    """The trials of one study at one scale. Failures of the database become `RunError`."""

    def __init__(self, place: Place, name: str, design: StudyDesign, data: str) -> None:
        """Open or create. data: what the base recipe is once its data is known.

        Raises InputError where the database cannot be used, or holds trials of another design or of other data.
        """
        self.place, self.name, self.design = place, name, design
        with failing_as_input_error(place), place.locked():
            self._storage = opened(place)
            self._study_id: int = self._begun(data)

    def _begun(self, data: str) -> int:
        study = optuna.create_study(
            storage=self._storage, study_name=self.name, directions=self.design.directions, load_if_exists=True
        )
        stored = study.user_attrs
        if DESIGN not in stored:  # new, or its maker was killed just now
            if params_of(self.design.recipe, self.design.space) is not None and not study.get_trials():
                study.enqueue_trial(params_of(self.design.recipe, self.design.space) or {})
            study.set_user_attr(ID, uuid.uuid4().hex[:12])
            study.set_user_attr(DATA, data)
            study.set_user_attr(DESIGN, self.design.canonical())
        else:
            self._check(stored, data)
        return int(self._storage.get_study_id_from_name(self.name))

    def _check(self, stored: Mapping[str, Any], data: str) -> None:
        faults = []
        own = self.design.canonical()
        if digest(stored[DESIGN]) != digest(own):
            fields = differing_paths(stored[DESIGN], own)
            faults.append(
                f"{self.name}: its trials were made with another design; it changed in {', '.join(fields)}; "
                "raise the study's version, so that its trials are kept apart"
            )
        elif stored[DATA] != data:
            faults.append(
                f"{self.name}: its trials were made with other data, or by an ablab whose stages have other revisions; "
                "raise the study's version, so that its trials are kept apart"
            )
        if faults:
            raise InputError(faults)

    def study(self) -> Any:
        """Optuna's study, for its sampler, pruner and plots."""
        return optuna.load_study(study_name=self.name, storage=self._storage, pruner=pruner_of(self.design))

    def describe(self, about: Mapping[str, str]) -> None:
        """Keep what people call the study: study (its name), label, scale, question."""
        with self._failing():
            self._storage.set_study_user_attr(self._study_id, ABOUT, dict(about))

    def judged(self, judged: Mapping[str, Any], holds: Callable[[Sequence[FrozenTrial]], bool]) -> None:
        """Keep what fresh replicates have shown, if that holds of the trials that there are by now."""
        with self._failing(), self.place.locked():
            if holds(self._storage.get_all_trials(self._study_id, deepcopy=False)):
                self._storage.set_study_user_attr(self._study_id, JUDGED, dict(judged))

    def trials(self) -> list[FrozenTrial]:
        with self._failing():
            return list(self._storage.get_all_trials(self._study_id, deepcopy=False))

    def retry_failed(self) -> None:
        """Failed trials are tried once more by every new command: their causes may be mended."""
        with self._failing(), self.place.locked():
            known = self._storage.get_all_trials(self._study_id, deepcopy=True)
            retried = retries(known)
            for trial in known:
                if trial.state == TrialState.FAIL and trial.number not in retried:
                    waiting = optuna.trial.create_trial(
                        state=TrialState.WAITING,
                        params=trial.params,
                        distributions=trial.distributions,
                        user_attrs={RETRY_OF: trial.number},
                    )
                    self._storage.create_new_trial(self._study_id, waiting)

    def claim(self, trials: int) -> Trial | None:
        """A trial that is now this process's: an abandoned one, one that waits, or a new one while `trials` allows it.

        trials: in all, of those that count; with 0 nothing new is begun.
        None when there is nothing to begin; trials of other workers may still be running (`running_elsewhere`).
        """
        with self._failing(), self.place.locked():
            known = self._storage.get_all_trials(self._study_id, deepcopy=False)
            me = asdict(this_process())
            trial_id = next((t._trial_id for t in known if self._is_abandoned(t)), None)
            if trial_id is None:
                trial_id = next((t._trial_id for t in known if t.state == TrialState.WAITING), None)
                if trial_id is not None:
                    self._storage.set_trial_state_values(trial_id, TrialState.RUNNING)
            if trial_id is not None:
                self._storage.set_trial_user_attr(trial_id, OWNER, me)
            elif counted(known) >= trials:
                return None
            else:
                begun = optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs={OWNER: me})
                trial_id = self._storage.create_new_trial(self._study_id, begun)
            self._storage.record_heartbeat(trial_id)
            study = self.study()
            study.get_trials(deepcopy=False)  # what it keeps of trials begins empty
            study.sampler = sampler_of(self.design.sampler, self._number(trial_id))
            return Trial(study, trial_id)

    def running_elsewhere(self) -> list[int]:
        """Numbers of the trials that other workers are at. Abandoned ones are claimed, not listed."""
        with self._failing():
            known = self._storage.get_all_trials(self._study_id, deepcopy=False)
            return [t.number for t in known if t.state == TrialState.RUNNING and not self._is_abandoned(t)]

    def tell(self, trial: Trial, state: TrialState, values: Sequence[float] | None = None) -> None:
        """End a trial, once. Without values unless it is complete: `Study.tell` would make a value of a partial one.

        Raises RunError when another worker has taken the trial over.
        """
        with self._kept(trial) as stored:
            if state == TrialState.COMPLETE and (twin := self._twin(stored)) is not None:
                self._storage.set_trial_user_attr(trial._trial_id, DUPLICATE, twin)
            self._storage.set_trial_state_values(trial._trial_id, state, values)

    def _twin(self, trial: FrozenTrial) -> int | None:
        """A complete trial that is the same computation: two workers may have been at one point at the same time."""
        identity = trial.user_attrs.get(IDENTITY)
        for other in self._storage.get_all_trials(self._study_id, deepcopy=False, states=(TrialState.COMPLETE,)):
            if identity and other.user_attrs.get(IDENTITY) == identity and DUPLICATE not in other.user_attrs:
                return int(other.number)
        return None

    def give_back(self, trial: Trial) -> None:
        """Leave a trial unfinished: whoever asks next, on any machine, goes on with it at once."""
        self.note(trial, **{OWNER: GIVEN_BACK})

    def note(self, trial: Trial, **attributes: Any) -> None:
        """Keep facts about a trial beside it. Raises as `tell` does."""
        with self._kept(trial):
            for name, value in attributes.items():
                self._storage.set_trial_user_attr(trial._trial_id, name, value)

    def report(self, trial: Trial, step: int, value: float) -> None:
        """One value of the trial's only row, which Optuna's pruners and plots see; a step that has one keeps it."""
        with self._kept(trial) as stored:
            if step not in stored.intermediate_values:
                trial.report(value, step)

    def should_prune(self, trial: Trial) -> bool:
        """What Optuna's pruner says of that row."""
        with self._kept(trial):
            return bool(trial.should_prune())

    def heartbeat(self, trial: Trial) -> AbstractContextManager[Any]:
        """Keeps a trial while the block lasts."""
        return _Heartbeat(lambda: self._storage.record_heartbeat(trial._trial_id))

    @contextmanager
    def _kept(self, trial: Trial) -> Iterator[FrozenTrial]:
        """The trial as it is stored, while nobody else claims. Raises TakenOver where it is no longer this worker's."""
        with self._failing(), self.place.locked():
            stored = self._storage.get_trial(trial._trial_id)
            if stored.state != TrialState.RUNNING or stored.user_attrs.get(OWNER) != asdict(this_process()):
                raise TakenOver(trial.number, self.name)
            yield stored

    def _is_abandoned(self, trial: FrozenTrial) -> bool:
        return is_abandoned(self._storage, self._study_id, trial)

    def _number(self, trial_id: int) -> int:
        return int(self._storage.get_trial(trial_id).number)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except (optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
            raise RunError(f"lost the study database {self.place.shown}: {self.place.cause(error)}", REMEDY) from error


def opened(place: Place) -> Any:
    """Optuna's storage; makes the tables where they are missing."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # heartbeats
        return optuna.storages.RDBStorage(
            place.url,
            engine_kwargs=place.engine_options(),
            heartbeat_interval=HEARTBEAT_S,
            grace_period=SILENT_S,
        )


def is_abandoned(storage: Any, study_id: int, trial: FrozenTrial) -> bool:
    """Running, and its owner is dead or silent."""
    if trial.state != TrialState.RUNNING:
        return False
    owner = trial.user_attrs.get(OWNER)
    if owner is None:  # its worker died between taking it and saying so
        began = trial.datetime_start
        return began is None or datetime.now() - began > timedelta(seconds=SILENT_S)
    if owner == GIVEN_BACK:
        return True
    return is_dead(Process(**owner)) or trial._trial_id in storage._get_stale_trial_ids(study_id)


def counted(trials: Sequence[FrozenTrial]) -> int:
    """Trials that use the budget: neither copies of another one, nor failures that were tried again."""
    retried = retries(trials)
    return sum(DUPLICATE not in trial.user_attrs and trial.number not in retried for trial in trials)


def retries(trials: Sequence[FrozenTrial]) -> dict[int, int]:
    """By the number of a failed trial that of the one that tries its point again."""
    return {trial.user_attrs[RETRY_OF]: trial.number for trial in trials if RETRY_OF in trial.user_attrs}


class _Heartbeat:
    """A thread that beats until the block ends. What it fails of is raised by the next use of the database."""

    def __init__(self, beat: Callable[[], None]) -> None:
        self._beat = beat
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            try:
                self._beat()
            except (optuna.exceptions.StorageInternalError, SQLAlchemyError):
                continue  # a database that comes back in time has lost nothing; one that does not fails the telling


@contextmanager
def failing_as_input_error(place: Place) -> Iterator[None]:
    try:
        yield
    except (optuna.exceptions.StorageInternalError, SQLAlchemyError, OSError) as error:
        raise InputError(
            f"cannot open the study database {place.shown}: {place.cause(error)}; check that it is there, that it may "
            "be written and that ABLAB_STUDY_URL names it"
        ) from error
    except RuntimeError as error:  # Optuna's word for tables of another of its versions
        raise InputError(f"the study database {place.shown} cannot be used: {error}") from error
