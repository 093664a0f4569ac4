"""What the collector takes and what it leaves, and that a removed checkpoint is computed again when it is needed."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from gc_helper import design, key_of, plan_of, put, put_run
from stages_helper import Notes, corpus_stage, execution_record, executor, small_plan, suite_stage, tokenizer_stage

from ablab.errors import InputError
from ablab.registry.process import this_process
from ablab.registry.records import Owner
from ablab.registry.registry import Registry, open_registry
from ablab.registry.versions import Pinned, spec_digest
from ablab.runner.garbage import Garbage, find_garbage, remove
from ablab.runner.projection import execution_view
from ablab.runner.results import roles_of
from ablab.runner.retention import find_needs
from ablab.settings import Settings, load_settings
from ablab.spec import Ablation
from ablab.spec.edit import dump
from ablab.spec.placement import Numerics
from ablab.store import Store
from ablab.store.executions import Execution, read_executions, write_execution
from ablab.store.pruned import checkpoint_folder, pruned_steps
from ablab.store.removal import collecting, remove_checkpoints, remove_stage
from experiments.scales import small


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "store").mkdir()
    return Store(tmp_path / "store")


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with open_registry(f"sqlite:///{tmp_path / 'registry.db'}") as opened:
        yield opened


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("ABLAB_HOME", str(tmp_path))
    return load_settings(tmp_path)


def look(
    store: Store,
    registry: Registry,
    settings: Settings,
    records: list[Execution] | None = None,
    pinned: tuple[Pinned, ...] = (),
) -> Garbage:
    records = list(read_executions(store.root)) if records is None else records
    return find_garbage(store, find_needs(store, records, pinned, settings), registry)


def found(garbage: Garbage) -> dict[str, set[tuple[str, int | None]]]:
    """Keys and steps of what was found, by group."""
    groups: dict[str, set[tuple[str, int | None]]] = {}
    for item in garbage.items:
        groups.setdefault(item.group, set()).add((item.key, item.step))
    return groups


def take(store: Store, garbage: Garbage) -> list[str]:
    """Remove everything that was found; what was told."""
    told: list[str] = []
    remove(store, garbage.items, told.append)
    return told


# -- what is needed ----------------------------------------------------------------------------------------------------


def test_of_a_recorded_run_only_undeclared_checkpoints_of_real_only_trainings_go(
    store: Store, registry: Registry, settings: Settings
) -> None:
    _, plan = put_run(store, design(42, 7), "a")
    good, other = key_of(plan, "real-only", "train"), key_of(plan, "real-only", "train", 1)
    assert key_of(plan, "mixed", "good_train") == good
    # 10 is the best, 20 the last, and GOOD's 5 is BAD; a mixture keeps what it has
    assert found(look(store, registry, settings)) == {"checkpoints": {(good, 15), (other, 5), (other, 15)}}


def test_a_checkpoint_stays_that_any_run_declares_whether_or_not_it_got_there(
    store: Store, registry: Registry, settings: Settings
) -> None:
    _, plan = put_run(store, design(42), "a")
    good = key_of(plan, "real-only", "train")
    assert found(look(store, registry, settings)) == {"checkpoints": {(good, 15)}}
    judged_at_15 = design(42, evaluation__selection={"kind": "at-step", "step": 15})
    interrupted = plan_of(store, judged_at_15)  # nothing of its own is in the store
    write_execution(
        store.root,
        execution_record(id="b" * 32, design=dump(judged_at_15), roles=roles_of(interrupted), status="interrupted"),
    )
    assert found(look(store, registry, settings)) == {}


def test_a_training_that_ended_at_a_selected_step_keeps_its_checkpoint(
    store: Store, registry: Registry, settings: Settings
) -> None:
    record, plan = put_run(store, design(42), "a")
    good = plan.stages[key_of(plan, "real-only", "train")].stage
    select = plan.stages[key_of(plan, "real-only", "select")].stage
    until = replace(good, params={**good.params, "train_seed": 9}, inputs={**good.inputs, "until": select})
    put(store, until)
    roles = {arm: [{**one, "bad_train": ("train", until.key)} for one in of] for arm, of in record.roles.items()}
    assert found(look(store, registry, settings, [replace(record, roles=roles)])) == {"checkpoints": {(good.key, 15)}}


def test_stages_that_no_run_and_no_version_needs_go_with_everything_in_them(
    store: Store, registry: Registry, settings: Settings
) -> None:
    kept, _ = put_run(store, design(42), "a")
    gone, plan = put_run(store, design(7), "b")
    alone = set(plan.stages) - {key for roles in kept.roles["mixed"] for _, key in roles.values()}
    alone -= {key for roles in kept.roles["real-only"] for _, key in roles.values()}
    garbage = look(store, registry, settings, [kept])
    assert {key for key, _ in found(garbage)["stages"]} == alone
    assert len(alone) > 5
    assert take(store, garbage) == []
    assert found(look(store, registry, settings, [kept])) == {}
    needed = {key for of in kept.roles.values() for roles in of for _, key in roles.values()}
    assert {key for _, key in store.finished()} == needed
    assert all(Store(store.root).faults(kind, key) == [] for kind, key in store.finished())
    assert gone.id != kept.id


def test_what_lies_below_a_needed_stage_is_needed_though_no_record_names_it(
    store: Store, registry: Registry, settings: Settings
) -> None:
    record, plan = put_run(store, design(42), "a")
    only = {"real-only": [{"evaluate": ("evaluate", key_of(plan, "real-only", "evaluate"))}]}
    garbage = look(store, registry, settings, [replace(record, roles=only)])
    below = {stage.key for stage in plan.arms["real-only"][0].roles["evaluate"].walk()}
    assert {key for key, _ in found(garbage)["stages"]} == set(plan.stages) - below


def pin(tmp_path: Path, **designs: object) -> Pinned:
    ablation = Ablation.model_validate({"name": "pinned", "version": 1, "question": "Why?", "designs": designs})
    return Pinned(ablation, spec_digest(ablation), tmp_path / "pinned@1.json")


def test_a_pinned_version_keeps_its_stages_and_its_declared_checkpoints(
    store: Store, registry: Registry, settings: Settings, tmp_path: Path
) -> None:
    _, plan = put_run(store, design(42), "a")
    good = key_of(plan, "real-only", "train")
    version = pin(tmp_path, tiny=design(42, good__selection={"kind": "at-step", "step": 15}))
    assert {key for key, _ in found(look(store, registry, settings, []))["stages"]} == set(plan.stages)
    garbage = look(store, registry, settings, [], (version,))
    kept = set(plan_of(store, version.ablation.designs["tiny"]).stages)
    assert {key for key, _ in found(garbage)["stages"]} == set(plan.stages) - kept
    assert (good, 15) not in found(garbage).get("checkpoints", set())


def test_a_pinned_version_whose_data_is_absent_is_said_and_keeps_nothing_by_itself(
    store: Store, settings: Settings, tmp_path: Path
) -> None:
    _, plan = put_run(store, design(42), "a")
    real = design(42).model_copy(update={"recipe": small(), "arms": ()})
    records = list(read_executions(store.root))
    needs = find_needs(store, records, [pin(tmp_path, small=real)], settings)
    assert len(needs.notes) == 1
    assert "pinned@1 at small: its stages cannot be named, because its data is not here" in needs.notes[0]
    assert set(plan.stages) <= needs.stages


def test_a_run_whose_design_this_ablab_cannot_read_keeps_every_checkpoint(
    store: Store, registry: Registry, settings: Settings
) -> None:
    record, _ = put_run(store, design(42, 7), "a")
    old = replace(record, design={**record.design, "optimiser": "of another time"})
    needs = find_needs(store, [old], (), settings)
    assert "was recorded by another ablab" in needs.notes[0]
    assert found(find_garbage(store, needs, registry)) == {}


def test_needed_stages_that_cannot_be_read_are_all_named_and_nothing_is_decided(
    store: Store, registry: Registry, settings: Settings
) -> None:
    _, plan = put_run(store, design(42), "a")
    broken = [("select", key_of(plan, "real-only", "select")), ("train", key_of(plan, "real-only", "train"))]
    for kind, key in broken:
        (store.directory(kind, key) / "stage.json").write_text("{")
    with pytest.raises(InputError) as caught:
        look(store, registry, settings)
    assert len(caught.value.faults) == 2
    assert all("cannot be read" in fault and "computed anew" in fault for fault in caught.value.faults)


def test_a_training_without_a_readable_result_is_named(store: Store, registry: Registry, settings: Settings) -> None:
    _, plan = put_run(store, design(42), "a")
    (store.directory("train", key_of(plan, "real-only", "train")) / "result.json").write_text("[]")
    with pytest.raises(InputError, match=r"cannot be read .*TypeError"):
        look(store, registry, settings)


# -- leftovers and the living ------------------------------------------------------------------------------------------


def test_leftovers_of_the_dead_go_and_what_a_recorded_run_will_resume_stays(
    store: Store, registry: Registry, settings: Settings
) -> None:
    record, plan = put_run(store, design(42), "a")
    resumable, unknown = key_of(plan, "real-only", "train"), "0" * 64
    remove_stage(store, "train", resumable)
    for key in (resumable, unknown):
        attempt = store.begin("train", key, Numerics())
        assert attempt is not None
        (attempt.out / "half").touch()
        (attempt.work / "resume" / "step-00000005").mkdir(parents=True)
        attempt.lock.close()  # as the kernel does for a dead process
    (store.root / ".damaged" / "train-x").mkdir(parents=True)
    (store.root / ".trash" / "train-y").mkdir(parents=True)
    garbage = look(store, registry, settings)
    assert {group: {key for key, _ in items} for group, items in found(garbage).items()} == {
        "killed": {""},
        "attempts": {resumable},
        "work": {unknown},
        "damaged": {""},
    }
    assert take(store, garbage) == []
    assert store.has_work(resumable)
    assert not store.has_work(unknown)
    assert found(look(store, registry, settings)) == {}
    assert record.status == "finished"


def test_what_a_living_process_is_at_is_left_and_said(store: Store, registry: Registry, settings: Settings) -> None:
    _, plan = put_run(store, design(7), "a")
    leased, locked = suite_stage(), key_of(plan, "real-only", "train")
    put(store, leased)
    assert registry.try_acquire(leased.key, Owner("another run", this_process())) is not None
    remove_checkpoints(store, locked, [5])
    attempt = store.begin("train", locked, Numerics(), [5])
    assert attempt is not None
    garbage = look(store, registry, settings)
    assert found(garbage) == {"checkpoints": {(key_of(plan, "mixed", "good_train"), 15)}}
    assert garbage.busy == [f"work of {locked[:12]}", f"suite {leased.key[:12]}", f"train {locked[:12]}"]
    store.discard(attempt)


def test_what_was_taken_up_after_it_was_found_is_left_and_told(
    store: Store, registry: Registry, settings: Settings
) -> None:
    put(store, suite_stage())
    garbage = look(store, registry, settings, [])
    lock = store.lock(suite_stage().key)
    assert lock is not None
    assert take(store, garbage) == [f"suite {suite_stage().key[:12]}: a process is at it now; left"]
    lock.close()
    assert store.has("suite", suite_stage().key)


def test_a_collector_killed_between_any_two_steps_leaves_what_is_needed_and_the_next_one_finishes(
    store: Store, registry: Registry, settings: Settings
) -> None:
    """Each item is safe in itself (tests/store); here the order: every beginning of the work is a sound store."""
    kept, _ = put_run(store, design(42), "a")
    put_run(store, design(7), "b")
    garbage = look(store, registry, settings, [kept])
    assert len(garbage.items) > 8
    needed = [stage for of in kept.roles.values() for roles in of for stage in roles.values()]
    for item in garbage.items:
        remove(store, [item], pytest.fail)
        assert all(Store(store.root).faults(kind, key) == [] for kind, key in needed)
        assert found(look(store, registry, settings, [kept])).keys() <= {"stages", "checkpoints"}
    assert found(look(store, registry, settings, [kept])) == {}


# -- runs ----------------------------------------------------------------------------------------------------------


def test_a_plan_calls_for_a_training_again_only_when_a_removed_checkpoint_is_needed(store: Store) -> None:
    _, plan = put_run(store, design(42), "a")
    good = key_of(plan, "real-only", "train")
    remove_checkpoints(store, good, [5, 15])
    assert {p.state for p in plan_of(store, design(42)).stages.values()} == {"cached"}, "all that used it is there"

    remove_stage(store, "evaluate", key_of(plan, "real-only", "evaluate"))
    again = plan_of(store, design(42))
    assert [p.stage.kind for p in again.todo()] == ["evaluate"], "it needs the best, which is kept"

    remove_stage(store, "generate", key_of(plan, "mixed", "generate"))
    remove_stage(store, "describe", key_of(plan, "mixed", "describe"))
    again = plan_of(store, design(42))
    assert {p.stage.kind for p in again.todo()} == {"evaluate", "generate", "describe", "train"}
    assert again.stages[good].why == "its checkpoint 5 was removed by ablab gc"
    assert again.stages[good].state == "new"
    attempt = store.begin("train", good, Numerics(), [5])
    assert attempt is not None
    (attempt.work / "resume" / "step-00000005").mkdir(parents=True)
    store.discard(attempt)
    resumed = plan_of(store, design(42)).stages[good]
    assert resumed.state == "resumable"
    assert resumed.why == ("its checkpoint 5 was removed by ablab gc; an interrupted run left work to go on from")


def test_publishing_a_run_whose_judged_checkpoint_is_gone_says_so(store: Store, settings: Settings) -> None:
    record, plan = put_run(store, design(42), "a", status="interrupted")
    for arm, role in (
        ("real-only", "evaluate"),
        ("mixed", "evaluate"),
        ("mixed", "bad_evaluate"),
        ("mixed", "generate"),
        ("real-only", "real_describe"),
    ):
        remove_stage(store, role.rpartition("_")[2], key_of(plan, arm, role))
    real, mixed = execution_view(store, record, settings.home, settings.project).arms
    assert (real.remark, mixed.remark) == ("", "")
    assert real.model is not None
    assert (real.model.train, real.model.step) == (key_of(plan, "real-only", "train"), 10)
    remove_checkpoints(store, real.model.train, [10])
    real, mixed = execution_view(store, record, settings.home, settings.project).arms
    assert (real.model, real.remark) == (
        None,
        "The model that was judged is not here: its checkpoint 10 was removed by ablab gc.",
    )
    assert mixed.model is not None


def test_a_run_computes_a_pruned_training_again_with_the_same_bytes(tmp_path: Path, store: Store) -> None:
    recipe_design = design(42, schedule__steps=4, schedule__checkpoint_every=2, good__selection={"kind": "last-step"})
    recipe_design = recipe_design.model_copy(update={"arms": ()})
    train = plan_of(store, recipe_design).arms["real-only"][0].roles["train"]

    def run(steps: set[int]) -> Notes:
        plan, view = small_plan(store, train), Notes()
        plan.stages[train.key].steps |= steps
        plan.demand(train.key, store)
        with executor(tmp_path, plan, view) as (evaluator, _):
            evaluator.run()
        return view

    def files() -> dict[str, bytes]:
        directory = store.directory("train", train.key)
        return {
            path.relative_to(directory).as_posix(): path.read_bytes()
            for path in directory.rglob("*")
            if path.is_file() and path.name != "manifest.json"
        }

    assert run(set()).finished_kinds == ["corpus", "tokenizer", "tokens", "train"]
    before = files()
    assert f"{checkpoint_folder(2)}/model.safetensors" in before
    remove_checkpoints(store, train.key, [2])
    assert run({4}).finished_kinds == []
    assert run({2}).finished_kinds == ["train"]
    assert files() == before
    assert pruned_steps(store.directory("train", train.key)) == frozenset()
    assert not any((store.root / ".trash").iterdir())


def test_a_run_that_planned_before_a_collection_waits_for_it_and_looks_again(tmp_path: Path, store: Store) -> None:
    put(store, suite_stage())
    with executor(tmp_path, small_plan(store, corpus_stage()), Notes()) as (evaluator, _):
        evaluator.run()
    plan, view = small_plan(store, tokenizer_stage()), Notes()
    assert plan.stages[corpus_stage().key].state == "cached"
    with executor(tmp_path, plan, view) as (evaluator, _):
        with collecting(store):  # it had decided before the run was recorded
            runner = threading.Thread(target=evaluator.run)
            runner.start()
            time.sleep(0.5)
            assert view.started_kinds == []
            remove_stage(store, "corpus", corpus_stage().key)
        runner.join(timeout=60)
    assert view.finished_kinds == ["corpus", "tokenizer"]
    assert view.notes == ["waiting for `ablab gc --apply` to end"]


def collect_again_and_again(home: str, stop: object) -> None:
    """In a process of its own: collect until told to end, as often as possible."""
    store = Store(Path(home) / "store")
    os.environ["ABLAB_HOME"] = home
    settings = load_settings(Path(home))
    with open_registry(f"sqlite:///{home}/registry.db") as registry:
        while not stop.is_set():  # type: ignore[attr-defined]
            with collecting(store):
                garbage = look(store, registry, settings)
                remove(store, garbage.items, lambda _: None)


def test_a_run_beside_a_collector_that_never_rests_finishes_with_the_same_bytes(tmp_path: Path, store: Store) -> None:
    stages = [tokenizer_stage(), tokenizer_stage(280), suite_stage()]
    everything = {stage.key: stage for result in stages for stage in result.walk()}
    calm = Store(tmp_path / "calm" / "store")
    with executor(tmp_path / "calm", small_plan(calm, *stages), Notes()) as (evaluator, _):
        evaluator.run()
    put(store, suite_stage(9))  # what nothing needs
    write_execution(
        store.root,
        execution_record(roles={"all": [{key: (stage.kind, key) for key, stage in everything.items()}]}),
    )
    open_registry(f"sqlite:///{tmp_path}/registry.db").close()
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    collector = context.Process(target=collect_again_and_again, args=(str(tmp_path), stop))
    collector.start()
    try:
        while store.has("suite", suite_stage(9).key):
            time.sleep(0.01)
            assert collector.is_alive()
        with executor(tmp_path, small_plan(store, *stages), Notes()) as (evaluator, _):
            evaluator.run()
    finally:
        stop.set()
        collector.join(timeout=30)
    assert collector.exitcode == 0
    for kind, key in calm.finished():
        assert Store(store.root).faults(kind, key) == []
        told, files = (
            json.loads((s.directory(kind, key) / "manifest.json").read_text())["files"] for s in (calm, store)
        )
        assert files == told
