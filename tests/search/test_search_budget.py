"""When a search ends: trials, hours, computing time, failures in a row. Real searches, of which none has to compute."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

import optuna
import pytest
from optuna.trial import Trial, TrialState
from study_helper import study_project

from ablab.errors import RunError
from ablab.registry.process import this_process
from ablab.registry.registry import open_registry
from ablab.runner.progress import View
from ablab.search.loop import Search
from ablab.search.points import drawn
from ablab.search.prepare import prepare_study
from ablab.search.storage import IDENTITY, OWNER, SECONDS, TrialStorage
from ablab.search.trial import Bench
from ablab.settings import load_settings
from ablab.spec.canonical import digest
from ablab.spec.edit import edit
from ablab.spec.lower import lower

RANGE = '{"schedule.learning_rate": Float(low=1e-3, high=9e-3)}'
MakeSearch = Callable[..., Search]


@pytest.fixture
def make_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeSearch]:
    """`make_search(budget, space, edits)`: a search of the study `rates` that nobody has begun."""
    with ExitStack() as opened:

        def make(
            budget: str, space: str = '{"schedule.learning_rate": Float(low=1e-3, high=9e-3)}', edits: str = ""
        ) -> Search:
            folder = study_project(tmp_path / "project", space=space, edits=edits, budget=budget)
            monkeypatch.setenv("ABLAB_HOME", str(tmp_path / "home"))
            settings = load_settings(folder)
            settings.home.mkdir()
            prepared = prepare_study(settings, "rates", "tiny", purpose="plan")
            registry = opened.enter_context(open_registry(settings.registry_url))
            bench = Bench(
                chosen=prepared.chosen,
                scale=prepared.scale,
                settings=settings,
                store=prepared.store,
                registry=registry,
                placement=prepared.placement,
                view=View(),
                on_started=lambda _: None,
                on_done=lambda _: None,
            )
            storage = TrialStorage(prepared.place, prepared.storage_name, prepared.design, prepared.data)
            return Search(prepared, storage, bench, View())

        yield make


def pruned(search: Search, seconds: float) -> None:
    """A trial that another worker has made, and that has no value."""
    trial = search.storage.claim(99)
    assert trial is not None
    drawn(trial, search.prepared.design.space)
    search.storage.note(trial, **{SECONDS: seconds, IDENTITY: f"trial {trial.number}"})
    search.storage.tell(trial, TrialState.PRUNED)


def test_a_budget_of_trials_counts_those_of_every_worker(make_search: MakeSearch) -> None:
    search = make_search("trials=2, hours=None, device_hours=None, failures_in_a_row=2")
    pruned(search, 1.0)
    pruned(search, 1.0)
    with pytest.raises(RunError, match="no trial has a value"):
        search.run()
    assert len(search.rows()) == 2


def test_a_budget_of_hours_ends_a_command_by_the_clock(make_search: MakeSearch) -> None:
    search = make_search("trials=9, hours=1e-9, device_hours=None, failures_in_a_row=2")
    with pytest.raises(RunError, match="no trial has a value"):
        search.run()
    assert search.rows() == () or all(row.state == "waiting" for row in search.rows())
    assert search.notes == ["the time of this command is used: budget.hours=1e-09"]


def test_a_budget_of_computing_time_counts_what_every_trial_has_cost(make_search: MakeSearch) -> None:
    search = make_search("trials=9, hours=None, device_hours=0.5, failures_in_a_row=2")
    pruned(search, 1_000.0)
    pruned(search, 900.0)
    with pytest.raises(RunError, match="no trial has a value"):
        search.run()
    assert len(search.rows()) == 2
    assert search.notes == ["the computing time of the study is used: 0.53 of 0.5 hours"]


def test_what_was_begun_is_ended_though_nothing_new_is_begun(make_search: MakeSearch) -> None:
    """An abandoned trial and a failed one, whose points others have had in the meantime."""
    search = make_search("trials=9, hours=None, device_hours=0.5, failures_in_a_row=2")
    begun = [search.storage.claim(99) for _ in range(2)]
    for trial in begun:
        assert trial is not None
        point = identity(search, trial)
        if trial.number == 0:
            search.storage.note(trial, **{OWNER: asdict(replace(this_process(), started="earlier"))})
        else:
            search.storage.tell(trial, TrialState.FAIL)
        other = optuna.trial.create_trial(state=TrialState.PRUNED, user_attrs={IDENTITY: point, SECONDS: 1_000.0})
        search.storage.study().add_trial(other)
    with pytest.raises(RunError, match="no trial has a value"):
        search.run()
    states = [(row.state, row.duplicate_of, row.retried_as) for row in search.rows()]
    assert states == [
        ("pruned", 2, None),
        ("failed", None, 4),
        ("pruned", None, None),
        ("pruned", None, None),
        ("pruned", 3, None),
    ]
    assert search.notes == ["the computing time of the study is used: 0.56 of 0.5 hours"]


def test_a_failed_trial_is_recorded_with_its_cause_and_the_search_goes_on_until_so_many_fail_in_a_row(
    make_search: MakeSearch,
) -> None:
    """Of four points one is unsound, which shows only when both values meet; the others are known already."""
    search = make_search(
        "trials=99, hours=None, device_hours=None, failures_in_a_row=3",
        space='{"model.hidden": Categorical(choices=(24, 40)), "model.heads": Categorical(choices=(4, 6))}',
        edits='"model.hidden": 24, "model.heads": 4',
    )
    known = {}
    for _ in range(7):  # the unsound point is drawn again later: alone twice, then three times in a row
        trial = search.storage.claim(99)
        assert trial is not None
        edits = drawn(trial, search.prepared.design.space)
        if (edits["model.hidden"], edits["model.heads"]) != (40, 6):
            known.setdefault(identity(search, trial), trial.number)
            search.storage.note(trial, **{IDENTITY: identity(search, trial)})
            search.storage.tell(trial, TrialState.COMPLETE, [float(trial.number)])
        else:
            search.storage.tell(trial, TrialState.PRUNED)
    assert len(known) == 3
    begun = len(search.rows())
    with pytest.raises(RunError, match=r"3 trials in a row failed, .* must be a multiple of model.heads=6"):
        search.run()
    later = [row for row in search.rows() if row.number >= begun]
    assert [row.state for row in later[-3:]] == 3 * ["failed"]
    assert all("model.hidden=40" in row.cause for row in later if row.state == "failed")
    first = next(index for index, row in enumerate(later) if row.state == "failed")
    assert "complete" in [row.state for row in later[first:]], "it went on"
    assert all(row.values == (float(known[row.identity]),) for row in later if row.state == "complete")


def identity(search: Search, trial: Trial) -> str:
    recipe = edit(search.prepared.base, drawn(trial, search.prepared.design.space))
    return digest([lower(recipe, one).roles["evaluate"].key for one in search.prepared.design.replicates])
