"""A study is shown in MLflow from its beginning, and by the same runs at its end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from optuna.trial import TrialState
from study_helper import small_design

from ablab.search.outcome import Judged, Outcome, Winner
from ablab.search.places import Place, study_place
from ablab.search.points import drawn
from ablab.search.projection import outcome_line
from ablab.search.publisher import end_abandoned, publish_study
from ablab.search.storage import CHECKPOINTS, IDENTITY, REPLICATES, TrialStorage
from ablab.search.stored import keep_judged, stored_studies
from ablab.settings import Settings, load_settings
from ablab.store import Store
from ablab.tracking import Tracker
from ablab.tracking.connection import connect

ABOUT = {"study": "rates", "label": "rates@1", "scale": "tiny", "question": "Which rate?"}
JUDGED = Judged("perplexity", 9.0, 9.1, (9.2, 9.4), 9.0, 9.6, -1.0, -2.0, 0.0)


def test_the_runs_of_a_study_that_goes_on_are_those_of_its_end(tmp_path: Path) -> None:
    settings = load_settings(tmp_path)
    settings.home.mkdir()
    place = study_place(settings.study_url)
    assert stored_studies(place) == ()
    storage = TrialStorage(place, "rates@1 tiny", small_design(), data="d")
    storage.describe(ABOUT)
    trial = storage.claim(3)
    assert trial is not None
    edits = drawn(trial, small_design().space)
    began = published(settings, ended=False)
    assert {run.info.status for run in began.values()} == {"RUNNING"}
    assert set(began) == {"study", "0"}

    storage.note(trial, **{IDENTITY: "i", REPLICATES: [[9.0]], CHECKPOINTS: {0: {5: 3.0, 10: 2.5}}})
    storage.tell(trial, TrialState.COMPLETE, [9.0])
    winner = Winner(0, edits, (JUDGED,))
    keep_judged(storage, verdict(winner))
    ended = published(settings, ended=True)
    assert {name: run.info.run_id for name, run in ended.items()} == {n: run.info.run_id for n, run in began.items()}
    assert {run.info.status for run in ended.values()} == {"FINISHED"}
    assert ended["0"].data.metrics["perplexity"] == 9.0
    assert ended["study"].data.metrics["winner/perplexity/fresh"] == 9.3
    assert ended["study"].data.metrics["winner/perplexity/low"] == 9.0
    first, *_ = ended["study"].data.tags["mlflow.note.content"].splitlines()
    assert first == "trial 0: perplexity 9 searched, 9.3 [9, 9.6] on fresh replicates, against the base -1 % [-2, +0]"
    pages = Tracker.of(settings).pages("http://here")["study/rates"]
    assert list(pages) == ["rates@1 tiny"]
    assert f"/runs/{ended['study'].info.run_id}?" in pages["rates@1 tiny"]
    about = connect(settings.tracking_uri).get_experiment_by_name("study/rates").tags["mlflow.note.content"]
    assert about.splitlines()[0] == first
    losses = connect(settings.tracking_uri).get_metric_history(
        ended["0"].info.run_id, "validation_loss_nats/replicate-1"
    )
    assert [(point.step, point.value) for point in losses] == [(5, 3.0), (10, 2.5)]


def test_who_ends_a_study_leaves_that_of_the_same_name_in_another_database(tmp_path: Path) -> None:
    ours, theirs = (load_settings(tmp_path / name) for name in ("ours", "theirs"))
    for settings in (ours, theirs):
        settings.home.mkdir(parents=True)
        place = study_place(settings.study_url)
        storage = TrialStorage(place, "rates@1 tiny", small_design(), data="d")
        storage.describe(ABOUT)
        trial = storage.claim(3)
        assert trial is not None
        drawn(trial, small_design().space)
        if settings == ours:
            storage.give_back(trial)
        (stored,) = stored_studies(place)
        publish_study(Tracker.of(ours), stored, settings, ended=False)
    end_abandoned(Tracker.of(ours), Store(Path(ours.store)), ours)
    client = connect(ours.tracking_uri)
    runs = client.search_runs([client.get_experiment_by_name("study/rates").experiment_id], order_by=["start_time"])
    found = {(run.data.tags["ablab.study"], run.info.run_name): run.info.status for run in runs}
    assert sorted(found.values()) == ["KILLED", "KILLED", "RUNNING", "RUNNING"]
    assert {status for (id_, _), status in found.items() if id_ == stored.id} == {"RUNNING"}


def test_what_fresh_replicates_have_shown_is_shown_while_its_trial_is_the_best(tmp_path: Path) -> None:
    place = study_place(f"sqlite:///{tmp_path / 's.db'}")
    storage = TrialStorage(place, "rates@1 tiny", small_design(), data="d")
    storage.describe(ABOUT)
    winners = [Winner(number, {"schedule.learning_rate": 5e-3}, (JUDGED,)) for number in range(2)]
    for number, value in enumerate((9.0, 8.0)):
        trial = storage.claim(3)
        assert trial is not None
        drawn(trial, small_design().space)
        storage.note(trial, **{IDENTITY: f"i{number}"})
        storage.tell(trial, TrialState.COMPLETE, [value])
        assert shown(place) == ((), ())
        keep_judged(storage, verdict(winners[number], "why"))
        assert shown(place) == ((winners[number],), ("why",))
    keep_judged(storage, verdict(winners[0], "of a worker that was slow"))
    assert shown(place) == ((winners[1],), ("why",))


def test_a_winner_that_is_the_base_is_said_to_be_it() -> None:
    same = replace(JUDGED, change=0.0, change_low=0.0, change_high=0.0)
    better = verdict(Winner(1, {}, (JUDGED,)))
    base = verdict(Winner(0, {}, (same,)))
    assert (JUDGED.against_base, same.against_base) == ("-1 % [-2, +0]", "the base itself")
    assert outcome_line(better).endswith(" on fresh replicates, against the base -1 % [-2, +0]")
    assert outcome_line(base).startswith("nothing beat the base, which is trial 0: ")
    assert outcome_line(base).endswith(" on fresh replicates")


def verdict(winner: Winner, *notes: str) -> Outcome:
    return Outcome("", "", "", (), (), (), (JUDGED,), (winner,), notes)


def shown(place: Place) -> tuple[tuple[Winner, ...], tuple[str, ...]]:
    (stored,) = stored_studies(place)
    return stored.outcome.winners, stored.outcome.notes


def published(settings: Settings, *, ended: bool) -> dict[str, Any]:
    """The runs of the only study, by trial, after it was published."""
    (stored,) = stored_studies(study_place(settings.study_url))
    publish_study(Tracker.of(settings), stored, settings, ended=ended)
    client = connect(settings.tracking_uri)
    experiment = client.get_experiment_by_name("study/rates")
    runs = client.search_runs([experiment.experiment_id], max_results=100)
    return {run.data.tags.get("ablab.trial", "study"): run for run in runs}
