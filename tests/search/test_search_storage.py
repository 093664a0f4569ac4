"""Trials are claimed by one worker, go on when it dies, and are told once."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import sqlalchemy
from optuna.trial import TrialState
from study_helper import small_design
from tiny_helper import ROOT, environment

from ablab.errors import InputError
from ablab.registry.process import this_process
from ablab.registry.registry import open_registry
from ablab.search import Float
from ablab.search.places import Place, study_place
from ablab.search.points import drawn
from ablab.search.rows import rows_of
from ablab.search.storage import CAUSE, IDENTITY, OWNER, TakenOver, TrialStorage, counted

WORKER = """
import sys, time
sys.path[:0] = [{tests!r}, {root!r}]
from study_helper import small_design
from ablab.search.places import study_place
from ablab.search.points import drawn
from ablab.search.storage import TrialStorage
from optuna.trial import TrialState
storage = TrialStorage(study_place({url!r}), "rates@1 tiny", small_design(), data="d")
while (trial := storage.claim({trials})) is not None:
    drawn(trial, small_design().space)
    print(trial.number, flush=True)
    time.sleep({seconds})
    storage.tell(trial, TrialState.COMPLETE, [1.0])
"""


def worker(place: Place, home: Path, trials: int, seconds: float) -> subprocess.Popen[str]:
    code = WORKER.format(tests=str(ROOT / "tests"), root=str(ROOT), url=place.url, trials=trials, seconds=seconds)
    return subprocess.Popen([sys.executable, "-c", code], env=environment(home), stdout=subprocess.PIPE, text=True)


def test_two_workers_share_a_budget_and_never_exceed_it(place: Place, tmp_path: Path) -> None:
    workers = [worker(place, tmp_path, trials=8, seconds=0.05) for _ in range(2)]
    numbers = [list(map(int, process.communicate(timeout=120)[0].split())) for process in workers]
    assert [process.returncode for process in workers] == [0, 0]
    assert sorted(numbers[0] + numbers[1]) == list(range(8))


def test_the_trial_of_a_killed_worker_goes_on_under_its_number_and_counts_once(place: Place, tmp_path: Path) -> None:
    killed = worker(place, tmp_path, trials=3, seconds=600)
    assert killed.stdout is not None
    number = int(killed.stdout.readline())
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    killed.stdout.close()
    storage = TrialStorage(place, "rates@1 tiny", small_design(), data="d")
    (before,) = storage.trials()
    assert storage.running_elsewhere() == []
    trial = storage.claim(3)
    assert trial is not None and trial.number == number
    assert drawn(trial, small_design().space) == before.params, "the point stays"
    storage.tell(trial, TrialState.COMPLETE, [1.0])
    assert counted(storage.trials()) == 1


def test_a_trial_of_a_living_worker_is_let_be(place: Place, storage: TrialStorage, tmp_path: Path) -> None:
    living = worker(place, tmp_path, trials=3, seconds=600)
    try:
        assert living.stdout is not None
        number = int(living.stdout.readline())
        assert storage.running_elsewhere() == [number]
        mine = storage.claim(3)
        assert mine is not None and mine.number != number
    finally:
        living.kill()
        living.communicate()


def test_a_worker_whose_trial_was_taken_over_can_tell_and_note_nothing(storage: TrialStorage) -> None:
    trial = storage.claim(3)
    assert trial is not None
    storage.note(trial, **{OWNER: asdict(replace(this_process(), machine="of another host"))})
    with pytest.raises(TakenOver, match="was taken over by another worker"):
        storage.tell(trial, TrialState.COMPLETE, [1.0])
    with pytest.raises(TakenOver):
        storage.note(trial, **{CAUSE: "why"})
    with pytest.raises(TakenOver):
        storage.report(trial, 0, 2.0)
    (stored,) = storage.trials()
    assert (stored.state, stored.user_attrs.get(CAUSE), stored.intermediate_values) == (TrialState.RUNNING, None, {})


def test_a_worker_whose_trial_another_one_has_ended_can_add_nothing(storage: TrialStorage) -> None:
    trial = storage.claim(3)
    assert trial is not None
    storage.tell(trial, TrialState.COMPLETE, [1.0])
    with pytest.raises(TakenOver, match="was taken over by another worker"):
        storage.note(trial, **{CAUSE: "why"})
    with pytest.raises(TakenOver):
        storage.report(trial, 0, 2.0)


def test_a_partial_mean_never_becomes_a_value(storage: TrialStorage) -> None:
    trial = storage.claim(3)
    assert trial is not None
    storage.report(trial, 0, 123.0)
    storage.tell(trial, TrialState.PRUNED)
    (row,) = rows_of(storage.trials(), small_design().space)
    assert storage.trials()[0].values is None and row.values is None
    assert storage.trials()[0].intermediate_values == {0: 123.0}


def test_the_first_trial_is_the_base_and_draws_follow_from_seed_and_number(tmp_path: Path) -> None:
    found = []
    for name in ("one", "two"):
        storage = TrialStorage(study_place(f"sqlite:///{tmp_path / name}.db"), "s@1 tiny", small_design(), data="d")
        points = []
        for _ in range(3):
            trial = storage.claim(3)
            assert trial is not None
            points.append(drawn(trial, small_design().space)["schedule.learning_rate"])
            storage.tell(trial, TrialState.COMPLETE, [1.0])
        assert storage.claim(3) is None
        found.append(points)
    assert found[0] == found[1]
    assert found[0][0] == 5e-3
    assert len(set(found[0])) == 3


def test_a_failed_trial_is_tried_once_more_by_the_next_command(storage: TrialStorage) -> None:
    trial = storage.claim(1)
    assert trial is not None
    point = drawn(trial, small_design().space)
    storage.note(trial, **{CAUSE: "why"})
    storage.tell(trial, TrialState.FAIL)
    assert storage.claim(1) is None
    for _ in range(2):  # of several commands one does it
        storage.retry_failed()
    again = storage.claim(1)
    assert again is not None and drawn(again, small_design().space) == point
    storage.tell(again, TrialState.COMPLETE, [1.0])
    rows = rows_of(storage.trials(), small_design().space)
    assert [(row.state, row.cause, row.retried_as) for row in rows] == [("failed", "why", 1), ("complete", "", None)]
    assert counted(storage.trials()) == 1


def test_of_equal_computations_that_end_together_one_counts(storage: TrialStorage) -> None:
    trials = [storage.claim(3), storage.claim(3)]
    for trial in trials:
        assert trial is not None
        storage.note(trial, **{IDENTITY: "same"})
    for trial in trials:
        assert trial is not None
        storage.tell(trial, TrialState.COMPLETE, [1.0])
    rows = rows_of(storage.trials(), small_design().space)
    assert [row.duplicate_of for row in rows] == [None, 0]
    assert counted(storage.trials()) == 1


def test_a_space_that_changed_under_its_version_is_refused_with_the_fields(place: Place, storage: TrialStorage) -> None:
    assert storage.name == "rates@1 tiny"
    changed = small_design(space={"schedule.learning_rate": Float(low=1e-3, high=2e-2, log=True)})
    with pytest.raises(InputError, match=r"changed in space.schedule.learning_rate.high; raise the study's version"):
        TrialStorage(place, "rates@1 tiny", changed, data="d")
    with pytest.raises(InputError, match="made with other data"):
        TrialStorage(place, "rates@1 tiny", small_design(), data="other")
    more = small_design().budget.model_copy(update={"trials": 99})
    TrialStorage(place, "rates@1 tiny", small_design(budget=more), data="d")  # a budget may be raised


def test_a_network_file_system_is_refused(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nserver:/x {tmp_path} nfs4 rw 0 0\n")
    with pytest.raises(InputError, match=r"network file system \(nfs4\).*PostgreSQL"):
        study_place(f"sqlite:///{tmp_path / 'studies.db'}", mounts)


def test_a_place_that_cannot_be_used_is_said_without_its_password(tmp_path: Path) -> None:
    for url, words in [
        ("mysql://ada:secret@host/db", "must start with sqlite: or postgresql:"),
        ("sqlite://", "must name a file"),
        ("postgresql://ada:secret@127.0.0.1:1/db", "cannot open the study database"),
        (f"sqlite:///{tmp_path}", "cannot be written"),
    ]:
        with pytest.raises(InputError) as caught:
            study_place(url)
        assert words in str(caught.value) and "secret" not in str(caught.value)


def test_the_database_of_another_program_is_refused(tmp_path: Path) -> None:
    open_registry(f"sqlite:///{tmp_path / 'registry.db'}").close()
    with pytest.raises(InputError, match="belongs to another program"):
        study_place(f"sqlite:///{tmp_path / 'registry.db'}")
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'damaged.db'}")
    engine.dispose()
    (tmp_path / "damaged.db").write_bytes(b"no database" * 100)
    with pytest.raises(InputError, match="cannot open the study database"):
        study_place(f"sqlite:///{tmp_path / 'damaged.db'}")
