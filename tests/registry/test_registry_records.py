"""What was recorded is what is given back; the index can be rebuilt from files."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from ablab.errors import InputError, RunError
from ablab.registry.process import Process, this_process
from ablab.registry.records import ExecutionStage, KindCosts, NewExecution, StageRecord, VersionRecord
from ablab.registry.registry import Registry
from ablab.registry.reindex import Reindexed, reindex

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)


def key(number: int) -> str:
    return f"{number:064x}"


def execution(label: str = "rate@1", scale: str = "tiny", process: Process | None = None) -> NewExecution:
    return NewExecution(
        ablation=label,
        scale=scale,
        spec_digest=key(7),
        spec={"recipe": {"rate": 1.0, "text": "ünïcode \N{GRINNING FACE}"}},
        edits={"mixture.share": 0.5},
        placement={"jobs": 2},
        process=process or this_process(),
        code_version="0.1.0",
        code_commit="abc+",
    )


def stage(number: int, **changes: Any) -> StageRecord:
    record = StageRecord(key(number), "train", "complete", 1.5, 1_000, {"tokens": 3.0e9}, "someone", NOW)
    return replace(record, **changes)


def test_an_execution_is_given_back_as_it_was_recorded(registry: Registry) -> None:
    new = execution()
    known = registry.start_execution(new)
    record = registry.execution(known)
    assert (len(known), record.status, record.finished_at, record.message) == (32, "running", None, "")
    assert all(getattr(record, field) == getattr(new, field) for field in NewExecution.__dataclass_fields__)
    assert timedelta(0) <= datetime.now(UTC) - record.started_at < timedelta(minutes=1)
    registry.finish_execution(known, "failed", "stage train \0 \udcff failed: naïve")
    record = registry.execution(known[:6])
    assert record.status == "failed"
    assert record.message == "stage train \N{REPLACEMENT CHARACTER} ? failed: naïve"
    assert record.finished_at is not None and record.finished_at >= record.started_at


def test_executions_are_listed_newest_first_and_filtered(registry: Registry) -> None:
    labels = ["rate@1", "rate@dev", "rate-2@1", "rate@1"]
    made = [registry.start_execution(execution(label, scale)) for label, scale in zip(labels, "abab", strict=True)]
    assert [one.id for one in registry.executions()] == made[::-1]
    assert [one.id for one in registry.executions(limit=2)] == [made[3], made[2]]
    assert [one.id for one in registry.executions(ablation="rate")] == [made[3], made[1], made[0]]
    assert [one.id for one in registry.executions(ablation="rate@1", scale="a")] == [made[0]]
    assert registry.executions(ablation="%") == []


def test_a_beginning_of_several_ids_is_refused_with_them(registry: Registry) -> None:
    made = [registry.start_execution(execution()) for _ in range(17)]  # of 16 first digits one occurs twice
    digits = [one[0] for one in made]
    digit = max(digits, key=digits.count)
    with pytest.raises(InputError, match=f"several executions begin with '{digit}': {digit}"):
        registry.execution(digit)


def test_an_unknown_execution_is_bad_input_to_read_and_a_lost_registry_to_write(registry: Registry) -> None:
    for unknown in ("f" * 32, "", "%"):
        with pytest.raises(InputError, match="no execution has the id"):
            registry.execution(unknown)
    with pytest.raises(RunError, match="does not know execution"):
        registry.finish_execution("f" * 32, "finished")
    with pytest.raises(RunError, match="does not know execution"):
        registry.set_execution_stages("f" * 32, [ExecutionStage("usual", 0, "train", key(1))])


def test_executions_of_dead_processes_are_interrupted_and_others_are_not(registry: Registry) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    here = this_process()
    mine = registry.start_execution(execution())
    reused = registry.start_execution(execution(process=replace(here, started="1")))
    elsewhere = registry.start_execution(execution(process=replace(here, machine="another boot", pid=1)))
    dead = registry.start_execution(execution(process=replace(here, pid=child.pid, started="1")))
    child.kill()
    child.wait()
    child.stdin.close()  # type: ignore[union-attr]
    assert sorted(registry.interrupt_dead()) == sorted([reused, dead])
    assert {one.id: one.status for one in registry.executions()} == {
        mine: "running",
        elsewhere: "running",
        reused: "interrupted",
        dead: "interrupted",
    }
    assert registry.interrupt_dead() == []


def test_the_stages_of_an_execution_are_replaced_whole(registry: Registry) -> None:
    known = registry.start_execution(execution())
    many = [ExecutionStage("usual", index, role, key(index)) for index in range(300) for role in ("evaluate", "train")]
    registry.set_execution_stages(known, many)
    assert registry.execution_stages(known) == many
    registry.set_execution_stages(known, many[:1])
    assert registry.execution_stages(known) == many[:1]
    assert registry.execution_stages("f" * 32) == []


def test_a_failure_never_replaces_a_completion(registry: Registry) -> None:
    failed = stage(1, state="failed", message="out of memory")
    registry.record_stage(failed)
    assert registry.stage_records([key(1)]) == {key(1): failed}
    registry.record_stage(stage(1))
    registry.record_stage(failed)
    assert registry.stage_records([key(1), key(2)]) == {key(1): stage(1)}
    again = stage(1, seconds=9.0, finished_at=NOW.astimezone(timezone(timedelta(hours=5))))
    registry.record_stage(again)
    assert registry.stage_records([key(1)])[key(1)] == again


def test_many_stages_are_asked_for_at_once(registry: Registry) -> None:
    for number in range(3):
        registry.record_stage(stage(number))
    assert set(registry.stage_records(key(number) for number in range(2_000))) == {key(0), key(1), key(2)}
    assert registry.stage_records([]) == {}


def test_costs_are_summed_by_kind_over_complete_stages(registry: Registry) -> None:
    for record in (
        stage(1, seconds=1.0),
        stage(2, seconds=2.0, computed_by="other"),
        stage(3, kind="corpus", bytes=5),
        stage(4, state="failed"),
    ):
        registry.record_stage(record)
    assert registry.costs() == {"corpus": KindCosts(1, 1.5, 5), "train": KindCosts(2, 3.0, 2_000)}
    assert registry.costs("other") == {"train": KindCosts(1, 2.0, 1_000)}
    assert registry.costs("nobody") == {}


def test_a_cost_that_is_no_number_is_refused(registry: Registry) -> None:
    with pytest.raises(InputError, match=r"costs\.tokens=nan has no stable form"):
        registry.record_stage(stage(1, costs={"tokens": math.nan}))


def test_a_version_is_known_once_and_other_content_is_refused(registry: Registry) -> None:
    one = VersionRecord("rate", 1, key(1), {"name": "rate", "designs": {"tiny": {"steps": 1}}})
    registry.record_version(one)
    registry.record_version(one)
    with pytest.raises(InputError, match=r"rate@1 is known with other content .* differ in designs\.tiny\.steps; "):
        registry.record_version(VersionRecord("rate", 1, key(2), {"name": "rate", "designs": {"tiny": {"steps": 2}}}))
    assert registry.versions() == [one]


def test_reindex_makes_the_index_what_the_files_say_and_keeps_executions(registry: Registry) -> None:
    known = registry.start_execution(execution())
    registry.set_execution_stages(known, [ExecutionStage("usual", 0, "train", key(1))])
    registry.record_version(VersionRecord("gone", 1, key(1), {}))
    registry.record_stage(stage(1, seconds=99.0))
    registry.record_stage(stage(2))  # complete, but its files are gone
    registry.record_stage(stage(3, state="failed"))
    manifest = {
        "key": key(1),
        "kind": "train",
        "seconds": 1.5,
        "bytes": 1_000,
        "costs": {"tokens": 3.0e9},
        "computed_by": "someone",
        "finished_at": NOW.isoformat(),
    }
    pinned = [VersionRecord("rate", 1, key(5), {"name": "rate"})]
    assert reindex(registry, pinned, [manifest, {"key": key(4), "kind": "corpus"}]) == Reindexed(1, 2, 1)
    assert registry.versions() == pinned
    records = registry.stage_records(map(key, range(9)))
    assert sorted(records) == [key(1), key(3), key(4)]
    assert (records[key(1)], records[key(3)].state) == (stage(1), "failed")
    assert registry.execution(known).status == "running"
    assert registry.execution_stages(known) == [ExecutionStage("usual", 0, "train", key(1))]
    assert reindex(registry, pinned, [manifest, {"key": key(4), "kind": "corpus"}]) == Reindexed(1, 2, 0)


def test_reindex_keeps_a_stage_that_is_recorded_while_the_files_are_read(registry: Registry) -> None:
    def manifests() -> Any:
        yield {"key": key(1), "kind": "train"}
        registry.record_stage(stage(2))

    assert reindex(registry, [], manifests()).forgotten == 0
    assert sorted(registry.stage_records([key(1), key(2)])) == [key(1), key(2)]


def test_reindex_of_many_stages_is_one_transaction(registry: Registry) -> None:
    assert reindex(registry, [], ({"key": key(n), "kind": "train"} for n in range(1_200))).stages == 1_200
    assert reindex(registry, [], []).forgotten == 1_200
    assert registry.costs() == {}


def test_reindex_names_every_fault_of_every_manifest_and_changes_nothing(registry: Registry) -> None:
    registry.record_stage(stage(1))
    bad: list[dict[str, Any]] = [
        {"kind": "train"},
        {"key": key(2), "kind": "train", "seconds": math.nan, "finished_at": "yesterday"},
        {"key": key(3), "kind": 3, "bytes": -1, "costs": []},
    ]
    with pytest.raises(InputError) as raised:
        reindex(registry, [], bad)
    assert len(raised.value.faults) == 6
    assert list(registry.stage_records([key(1), key(2), key(3)])) == [key(1)]
