"""Small real stages, and an executor over them, for tests of what runs stages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ablab.registry.registry import Registry, open_registry
from ablab.runner.estimate import estimate
from ablab.runner.execute import Executor
from ablab.runner.plan import Plan, PlannedStage, Use
from ablab.runner.progress import View
from ablab.spec import Corpus, Design, MicroworldSource, MicroworldSuites, Replicate, Stage, Tokenizer
from ablab.spec.edit import dump
from ablab.spec.placement import Numerics, Placement
from ablab.store import Store
from ablab.store.executions import Execution
from experiments.scales import tiny


def corpus_stage(words: int = 800) -> Stage:
    """A few hundred words of a microworld."""
    source = MicroworldSource(world_seed=1, words=words, validation_words=100, test_words=100)
    corpus = Corpus(sources=(source,), seed_share=0.05, split_seed=1, word_budget=None)
    return Stage("corpus", corpus.canonical())


def tokenizer_stage(vocab_size: int = 300, words: int = 800) -> Stage:
    return Stage("tokenizer", Tokenizer(vocab_size=vocab_size).canonical(), {"corpus": corpus_stage(words)})


def suite_stage(items: int = 2) -> Stage:
    suite = MicroworldSuites(world_seed=1, items_per_task=items, names=("minimal_pairs",))
    return Stage("suite", {"suites": [suite.canonical()]})


def small_design() -> Design:
    """One arm, one replicate."""
    replicates = (Replicate(train_seed=1, generation_seed=1),)
    return Design(control="real-only", recipe=tiny(), arms=(), replicates=replicates, claims=())


def small_plan(store: Store, *results: Stage) -> Plan:
    """A plan that asks for these stages, as `make_plan` makes it for the results of a design."""
    plan = Plan(small_design(), {}, {})
    for stage in (one for result in results for one in result.walk()):
        if stage.key not in plan.stages:
            state = "cached" if store.has(stage.kind, stage.key) else "unneeded"
            uses = [Use("real-only", 0, stage.kind)]
            plan.stages[stage.key] = PlannedStage(stage, uses, state, "", estimate(stage, Numerics()))
            for key in {one.key for one in stage.inputs.values()}:
                plan.stages[key].children.append(plan.stages[stage.key])
    for result in results:
        plan.demand(result.key, store)
    return plan


class Notes(View):
    """A display that remembers what it was told."""

    def __init__(self) -> None:
        self.started_kinds: list[str] = []
        self.finished_kinds: list[str] = []
        self.notes: list[str] = []

    def started(self, planned: PlannedStage) -> None:
        self.started_kinds.append(planned.stage.kind)

    def finished(self, planned: PlannedStage) -> None:
        self.finished_kinds.append(planned.stage.kind)

    def note(self, text: str) -> None:
        self.notes.append(text)


def execution_record(**changes: Any) -> Execution:
    """The record of a run of `small_design`."""
    fields: dict[str, Any] = {
        "id": "a" * 32,
        "ablation": "nothing",
        "label": "nothing@dev",
        "scale": "tiny",
        "question": "Why?",
        "design": dump(small_design()),
        "design_digest": "d" * 64,
        "edits": {"schedule.steps": 3},
        "placement": {"jobs": 1},
        "roles": {"real-only": [{"suite": ("suite", "0" * 64)}]},
        "status": "running",
        "started_at": "2025-11-22T10:00:00+00:00",
        "host": "here",
        "pid": 1,
        "code": "unknown",
    }
    return Execution(**fields | changes)


def ignore(_planned: PlannedStage) -> None:
    """An `on_done` that does nothing."""


@contextmanager
def executor(
    home: Path, plan: Plan, view: View, jobs: int = 1, on_done: Callable[[PlannedStage], None] = ignore
) -> Iterator[tuple[Executor, Registry]]:
    """An executor of a plan over `home/store` with a registry of its own."""
    with open_registry(f"sqlite:///{home / 'registry.db'}") as registry:
        yield (
            Executor(
                plan=plan,
                store=Store(home / "store"),
                registry=registry,
                execution="e" * 32,
                placement=Placement(jobs=jobs, numerics=Numerics()),
                view=view,
                logs=home / "logs",
                on_done=on_done,
            ),
            registry,
        )
