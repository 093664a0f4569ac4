"""The evaluator keeps going through damage, removed inputs, takeovers and dying workers, and never for ever."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from stages_helper import Notes, corpus_stage, executor, small_plan, suite_stage, tokenizer_stage

from ablab.errors import RunError
from ablab.registry.process import this_process
from ablab.registry.records import Lease, Owner
from ablab.registry.registry import Registry
from ablab.runner.execute import chain_seconds, waiting_for
from ablab.runner.plan import PlannedStage
from ablab.spec.placement import Numerics
from ablab.spec.stages import Stage
from ablab.store import Store

OTHER = Owner("another run", this_process())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def run(home: Path, *results: Stage, view: Notes | None = None, jobs: int = 1) -> Notes:
    """Compute what is missing, and check that nobody holds a lease or a lock afterwards."""
    view = view or Notes()
    plan = small_plan(Store(home / "store"), *results)
    with executor(home, plan, view, jobs) as (evaluator, registry):
        evaluator.run()
        assert all(registry.holder(key) is None for key in plan.stages)
    assert all(planned.state == "cached" for planned in plan.stages.values())
    assert [list((home / "store" / folder).glob("*")) for folder in (".attempts", ".work")] == [[], []]
    return view


def corrupt(store: Store, stage: Stage) -> None:
    path = store.directory(stage.kind, stage.key) / "train.parquet"
    path.write_bytes(path.read_bytes()[:-1])


def tree(store: Store, stage: Stage) -> dict[str, bytes]:
    """The files of a stage but its manifest."""
    return {
        path.name: path.read_bytes()
        for path in store.directory(stage.kind, stage.key).iterdir()
        if path.name != "manifest.json"
    }


def test_damaged_inputs_are_computed_again_and_then_the_stage_that_found_them(tmp_path: Path, store: Store) -> None:
    corpus = corpus_stage()
    run(tmp_path, corpus)
    before = tree(store, corpus)
    corrupt(store, corpus)
    view = run(tmp_path, tokenizer_stage(), tokenizer_stage(280))
    assert view.finished_kinds == ["corpus", "tokenizer", "tokenizer"]
    assert len([note for note in view.notes if "train.parquet has" in note and "computing it again" in note]) == 1
    assert tree(store, corpus) == before
    assert len(list((store.root / ".damaged").iterdir())) == 1


def test_inputs_that_were_removed_after_planning_are_computed_again(tmp_path: Path, store: Store) -> None:
    run(tmp_path, corpus_stage())
    plan = small_plan(store, tokenizer_stage())
    assert plan.stages[corpus_stage().key].state == "cached"
    shutil.rmtree(store.root / "corpus")
    view = Notes()
    with executor(tmp_path, plan, view) as (evaluator, _):
        evaluator.run()
    assert view.finished_kinds == ["corpus", "tokenizer"]
    assert store.has("tokenizer", tokenizer_stage().key)


def test_an_input_that_is_damaged_however_often_it_is_computed_ends_the_run(tmp_path: Path, store: Store) -> None:
    corpus = corpus_stage()

    def unsound_disk(planned: PlannedStage) -> None:
        if planned.key == corpus.key:
            corrupt(store, corpus)

    plan = small_plan(store, tokenizer_stage())
    with (
        executor(tmp_path, plan, Notes(), on_done=unsound_disk) as (evaluator, _),
        pytest.raises(RunError, match=r"damaged again .* is the disk sound"),
    ):
        evaluator.run()


def test_a_stage_that_a_suspended_process_still_works_on_is_waited_for(tmp_path: Path, store: Store) -> None:
    """Its lease has run out, so this run holds it; yet both would write in one work directory."""
    attempt = store.begin("suite", suite_stage().key, Numerics())
    assert attempt is not None
    (attempt.work / "half").write_text("of the suspended one")
    outcome: list[Notes] = []
    runner = threading.Thread(target=lambda: outcome.append(run(tmp_path, suite_stage())))
    runner.start()
    time.sleep(2.5)  # long enough to ask twice
    assert runner.is_alive()
    assert (attempt.work / "half").read_text() == "of the suspended one"
    store.discard(attempt)  # it wakes up, sees that it has lost its lease, and stops
    runner.join(timeout=30)
    assert outcome[0].finished_kinds == ["suite"]
    assert outcome[0].started_kinds.count("suite") > 1
    assert len([note for note in outcome[0].notes if "waiting" in note]) == 1


class Thief(Notes):
    """As soon as a stage has begun, another run takes its lease and this run's worker fails; later it gives it back."""

    def __init__(self, registry: Callable[[], Registry], store: Store) -> None:
        super().__init__()
        self.registry, self.store = registry, store
        self.stolen: Lease | None = None

    def started(self, planned: PlannedStage) -> None:
        super().started(planned)
        if self.stolen is None:
            self.stolen = self.registry().try_acquire(planned.key, OTHER, ttl=-1.0)
            threading.Thread(target=kill_worker_at, args=(self.store, planned.key)).start()

    def note(self, text: str) -> None:
        super().note(text)
        if self.stolen is not None and "the lease was lost" in text:
            self.registry().release(self.stolen)


def kill_worker_at(store: Store, key: str) -> None:
    """SIGKILL the process that computes a stage, as soon as it does."""
    while not (found := list((store.root / ".attempts").glob(f"{key}_*"))):
        time.sleep(0.002)
    os.kill(int(found[0].name.split("_")[1]), signal.SIGKILL)


def test_what_fails_after_its_lease_was_lost_is_left_to_the_new_holder(tmp_path: Path, store: Store) -> None:
    big = corpus_stage(20_000)
    plan = small_plan(store, big)
    registries: list[Registry] = []
    view = Thief(lambda: registries[0], store)
    with executor(tmp_path, plan, view) as (evaluator, registry):
        registries.append(registry)
        evaluator.run()
    assert view.finished_kinds == ["corpus"]
    assert any("the lease was lost" in note for note in view.notes)
    assert not list((store.root / ".attempts").iterdir()), "a second try removes what the first left"


def test_a_stage_whose_worker_dies_fails_alone_and_says_how(tmp_path: Path, store: Store) -> None:
    big = corpus_stage(20_000)
    plan = small_plan(store, big, suite_stage())
    threading.Thread(target=kill_worker_at, args=(store, big.key)).start()
    view = Notes()
    with (
        executor(tmp_path, plan, view) as (evaluator, registry),
        pytest.raises(RunError, match=r"1 of 2 stages failed(.|\n)*signal SIGKILL(.|\n)*same command again"),
    ):
        evaluator.run()
    assert view.finished_kinds == ["suite"]
    assert registry.holder(big.key) is None
    assert run(tmp_path, big).finished_kinds == ["corpus"]


def test_a_stage_is_begun_after_what_it_comes_after_and_calls_for_it_only_when_it_is_absent_itself(
    tmp_path: Path, store: Store
) -> None:
    suite, corpus = suite_stage(), corpus_stage()
    ordered = small_plan(store, suite)
    ordered.stages.update(small_plan(store, corpus).stages)
    ordered.stages[corpus.key].state = "unneeded"
    ordered.wait(suite.key, after=corpus.key)
    assert chain_seconds(ordered)[corpus.key] > chain_seconds(ordered)[suite.key]
    view = Notes()
    with executor(tmp_path, ordered, view, jobs=2) as (evaluator, _):
        evaluator.run()
    assert view.finished_kinds == ["corpus", "suite"]
    shutil.rmtree(store.directory("corpus", corpus.key))
    ordered.refresh(store)
    assert list(ordered.todo()) == [], "the suite is there, so nothing calls for what it came after"
    shutil.rmtree(store.directory("suite", suite.key))
    ordered.stages[suite.key].state = "unneeded"
    assert [planned.stage.kind for planned in ordered.demand(suite.key, store)] == ["suite", "corpus"]
    assert ordered.stages[suite.key].why == "needs corpus first"


def test_what_comes_after_a_stage_that_failed_is_not_begun_and_the_summary_names_it(
    tmp_path: Path, store: Store
) -> None:
    impossible = tokenizer_stage(60_000)
    plan = small_plan(store, impossible, suite_stage())
    plan.wait(suite_stage().key, after=impossible.key)
    view = Notes()
    with executor(tmp_path, plan, view, jobs=2) as (evaluator, _), pytest.raises(RunError) as caught:
        evaluator.run()
    assert view.started_kinds == ["corpus", "tokenizer"]
    assert "1 of 3 stages failed" in str(caught.value)
    assert "not begun without it: suite · real-only r1" in str(caught.value)


def test_all_that_cannot_be_begun_without_a_stage_is_told_once_and_by_distance(store: Store) -> None:
    plan = small_plan(store, tokenizer_stage(300), tokenizer_stage(400), suite_stage())
    corpus, one, other, suite = (
        plan.stages[stage.key] for stage in (corpus_stage(), tokenizer_stage(300), tokenizer_stage(400), suite_stage())
    )
    for tokenizer in (one, other):
        plan.wait(suite.key, after=tokenizer.key)
    todo = {planned.key for planned in plan.todo()}
    assert waiting_for(corpus, todo) == [[one, other], [suite], []]
    assert waiting_for(corpus, todo - {one.key, suite.key}) == [[other], []]
    assert waiting_for(suite, todo) == [[]]


def test_workers_that_die_while_idle_end_the_run_instead_of_being_replaced_for_ever(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the first worker lives: it is busy, and the other is idle."""
    run(tmp_path, suite_stage())  # something is in the store
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        f"import os\nif not os.path.samestat(os.fstat(2), os.stat({str(tmp_path / 'logs' / 'worker-1.log')!r})):\n"
        "    os._exit(3)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    plan = small_plan(store, suite_stage(), tokenizer_stage(words=40_000), tokenizer_stage(280, words=40_000))
    with (
        executor(tmp_path, plan, Notes(), jobs=2) as (evaluator, _),
        pytest.raises(RunError, match="die while they have nothing to do: exit status 3"),
    ):
        evaluator.run()
