"""One run of one ablation: prepare, evaluate the DAG, compare, publish."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from ablab.analysis import Comparison, write_files
from ablab.analysis.apart import Apart, arms_apart
from ablab.analysis.corpora import corpora_table
from ablab.errors import RunError
from ablab.registry.process import this_process
from ablab.registry.records import ExecutionStage, NewExecution
from ablab.registry.registry import Registry, open_registry
from ablab.runner.compiling import uncompiled_note
from ablab.runner.execute import Executor
from ablab.runner.interrupted import mark_interrupted
from ablab.runner.prepare import Prepared, prepare
from ablab.runner.progress import View
from ablab.runner.provenance import code_commit
from ablab.runner.publisher import Publisher
from ablab.runner.results import compare_roles, results_folder, roles_of
from ablab.settings import Settings, load_settings
from ablab.spec.edit import dump
from ablab.store import Store
from ablab.store.executions import Execution, Status, now, write_execution
from ablab.store.files import write_json

READER_GONE = "the reader of the output went away"


@dataclass(frozen=True)
class RunResult:
    """What a run left: its comparison, where the files are, what sharing and the store saved."""

    execution: str
    label: str
    scale: str
    comparison: Comparison
    folder: Path
    computed: int
    """Stages that this run had to compute."""
    needed: int
    """Different stages that the design consists of."""
    stages_apart: int
    """Stages it would consist of if arms and replicates shared nothing."""
    corpora: list[dict[str, Any]]
    """One row per arm with synthetic text (`analysis.corpora`)."""
    apart: tuple[Apart, ...]
    """How far the arms' distributions are apart, two by two."""
    unpublished: str = ""
    """Why MLflow does not show the run, and what to do; empty when it does."""


def run(
    name: str,
    *,
    scale: str = "smoke",
    edits: Mapping[str, Any] | None = None,
    jobs: int | None = None,
    numerics: Mapping[str, Any] | None = None,
    generation_workers: int = 1,
    settings: Settings | None = None,
    view: View | None = None,
) -> RunResult:
    """Run an ablation and compare its arms. What is in the store is not computed again.

    name: 'contrastive-vs-masked', 'name@2' or 'name@dev'. edits: recipe path to JSON-like value, applied to the
    control recipe. Raises InputError before anything is computed, RunError after that (the same call resumes).
    """
    settings = settings or load_settings()
    prepared = prepare(
        settings,
        name,
        scale,
        edits or {},
        jobs=jobs,
        numerics=numerics,
        generation_workers=generation_workers,
        purpose="run",
    )
    return run_prepared(prepared, settings, view or View())


def run_prepared(
    prepared: Prepared, settings: Settings, view: View, show: Callable[[RunResult], None] = lambda _: None
) -> RunResult:
    """Evaluate a plan that was prepared to run. `show` is given the result before MLflow is waited for."""
    try:
        return _run_recorded(prepared, settings, view, show)
    except (BrokenPipeError, SystemExit) as error:  # rich makes the one the other
        raise RunError(READER_GONE, "the same command goes on from here") from error
    except OSError as error:  # of this process; those of stages are told with the stage
        raise RunError(f"{error}", "fix the cause (a full disk?) and run the same command again: it resumes") from error


def _run_recorded(prepared: Prepared, settings: Settings, view: View, show: Callable[[RunResult], None]) -> RunResult:
    with open_registry(settings.registry_url) as registry:
        mark_interrupted(registry, prepared.store)
        prepared.store.sweep()
        record = start_execution(registry, prepared)
        logs = settings.home / "logs" / record.id
        with Publisher(settings, logs / "publisher.log") as publisher:
            try:
                result = _run(registry, record, prepared, settings, view, publisher)
            except BaseException as error:
                gone = isinstance(error, BrokenPipeError | SystemExit)
                status: Status = "failed" if isinstance(error, Exception) and not gone else "interrupted"
                message = READER_GONE if gone else str(error) or type(error).__name__
                finish_execution(registry, prepared.store, record, status, message)
                raise
            finish_execution(registry, prepared.store, record, "finished", "")
            try:
                show(result)
            finally:
                unpublished = _publish(publisher, record.id)
    return replace(result, unpublished=unpublished)


def _publish(publisher: Publisher, execution: str) -> str:
    """Why it failed, if it did: the run is finished whether or not MLflow can show it."""
    try:
        publisher.publish(execution)
    except RunError as error:
        return str(error)
    return ""


def _run(
    registry: Registry, record: Execution, prepared: Prepared, settings: Settings, view: View, publisher: Publisher
) -> RunResult:
    plan, store = prepared.plan, prepared.store
    todo = sum(1 for _ in plan.todo())
    view.begin(plan)
    if note := uncompiled_note(plan, prepared.placement.numerics):
        view.note(note)
    try:
        Executor(
            plan=plan,
            store=store,
            registry=registry,
            execution=record.id,
            placement=prepared.placement,
            view=view,
            logs=settings.home / "logs" / record.id,
            on_done=publisher.stage_done,
            on_started=publisher.stage_started,
        ).run()
    finally:
        view.end()
    comparison = compare_roles(prepared.design, record.roles, store)
    folder = results_folder(settings.home, prepared.label, prepared.scale, prepared.design_digest)
    write_files(comparison, folder)
    write_json(folder / "plan.json", plan.to_json())
    return RunResult(
        execution=record.id,
        label=prepared.label,
        scale=prepared.scale,
        comparison=comparison,
        folder=folder,
        computed=todo,
        needed=len(plan.stages),
        stages_apart=plan.stages_apart(),
        corpora=corpora_table(record.roles, store),
        apart=arms_apart(list(record.roles), record.roles, store),
    )


def start_execution(registry: Registry, prepared: Prepared, study: str = "") -> Execution:
    """Record the execution in the store (the truth) and in the registry (the index). study: whose trial it is."""
    process, roles = this_process(), roles_of(prepared.plan)
    placement = json.loads(prepared.placement.model_dump_json())
    id_ = registry.start_execution(
        NewExecution(
            ablation=prepared.label,
            scale=prepared.scale,
            spec_digest=prepared.design_digest,
            spec=dump(prepared.design),
            edits=prepared.edits,
            placement=placement,
            process=process,
            code_version=metadata.version("ablab"),
            code_commit=code_commit(),
        )
    )
    registry.set_execution_stages(
        id_,
        [
            ExecutionStage(use.arm, use.replicate, use.role, planned.key)
            for planned in prepared.plan.stages.values()
            for use in planned.uses
        ],
    )
    record = Execution(
        id=id_,
        ablation=prepared.ablation.name,
        label=prepared.label,
        scale=prepared.scale,
        question=prepared.ablation.question,
        design=dump(prepared.design),
        design_digest=prepared.design_digest,
        edits=prepared.edits,
        placement=placement,
        roles=roles,
        status="running",
        started_at=now(),
        host=process.host,
        pid=process.pid,
        machine=process.machine,
        process_started=process.started,
        code=code_commit(),
        study=study,
    )
    write_execution(prepared.store.root, record)
    return record


def finish_execution(registry: Registry, store: Store, record: Execution, status: Status, message: str) -> None:
    """Record how an execution ended, in the store and in the registry."""
    try:
        write_execution(store.root, record.ended(status, message))
        registry.finish_execution(record.id, status, message)
    except (RunError, OSError):
        if status == "finished":
            raise
        # The full disk or lost database is why this run ends; the error that says so is on its way already.
