"""At a checkpoint losses are compared with those of the same replicate at the same step, by the declared rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from optuna.trial import Trial, TrialState
from recipes_helper import contrastive
from study_helper import small_design

from ablab.runner.plan import PlannedStage, make_plan
from ablab.search import Behind, Categorical, Float, Hyperband, Median, NoPruning, Objective, StudyDesign, Wilcoxon
from ablab.search.check import study_faults
from ablab.search.checkpoints import Watch
from ablab.search.outcome import best_of
from ablab.search.places import study_place
from ablab.search.points import drawn
from ablab.search.prepare import design_of
from ablab.search.rows import rows_of
from ablab.search.storage import IDENTITY, TrialStorage
from ablab.search.trial import Stopped
from ablab.spec import Recipe, Replicate, edit
from ablab.spec.edit import dump
from ablab.spec.placement import Numerics
from ablab.store import Store
from experiments.scales import tiny

PAIR = (Replicate(train_seed=1, generation_seed=1), Replicate(train_seed=2, generation_seed=2))
STEPS = (5, 10, 15, 20)


class Table:
    """A study whose trainings are told losses, and not computed."""

    def __init__(self, folder: Path, pruner: Any, **changes: Any) -> None:
        self.design: StudyDesign = small_design(replicates=PAIR, checkpoint_pruner=pruner, **changes)
        self.scores: dict[tuple[str, int, int], float] = {}
        """By metric, replicate and step."""
        self.storage = TrialStorage(study_place(f"sqlite:///{folder / 's.db'}"), "s@1 tiny", self.design, data="d")
        plan = make_plan(design_of("arm", tiny(), PAIR), {"arm": tiny()}, Store(folder / "store"), Numerics())
        self.trainings: list[PlannedStage] = [plan.stages[lowered.roles["train"].key] for lowered in plan.arms["arm"]]

    def rows(self) -> Any:
        return rows_of(self.storage.trials(), self.design.space)

    def begin(self) -> tuple[Trial, Watch]:
        trial = self.storage.claim(99)
        assert trial is not None
        drawn(trial, self.design.space)
        self.storage.note(trial, **{IDENTITY: f"trial {trial.number}"})
        best = lambda: next(iter(best_of(self.rows(), self.design.directions)), None)  # noqa: E731
        scored = lambda metric, position, step: self.scores.get((metric, position, step))  # noqa: E731
        return trial, Watch(self.storage, trial, self.design, best, scored)

    def tell(self, watch: Watch, position: int, *losses: float) -> None:
        for step, loss in zip(STEPS, losses, strict=False):
            event = {"step": step, "values": {"validation_loss_nats": loss}}
            watch.heard(self.trainings[position], event)

    def complete(self, value: float, *replicates: tuple[float, ...]) -> None:
        trial, watch = self.begin()
        for position, losses in enumerate(replicates):
            self.tell(watch, position, *losses)
        self.storage.tell(trial, TrialState.COMPLETE, [value])


def curved(reading: bool = False) -> Recipe:
    """The tiny recipe with a learning curve of one of its suites, and of words that were read."""
    suites = dump(tiny())["evaluation"]["suites"]
    words = {"kind": "babylm", "name": "words", "group": "human-likeness", "path": "words", "items_per_task": None}
    more = [words | {"task": "eye-tracking"}] if reading else []
    curve = {"every": 10, "suites": ["minimal_pairs", *(one["name"] for one in more)]}
    return edit(tiny(), {"evaluation.suites": [*suites, *more], "evaluation.curve": curve})


def test_behind_compares_a_replicate_with_the_same_one_of_the_best_trial(tmp_path: Path) -> None:
    table = Table(tmp_path, Behind(margin=5.0, after=10))
    table.complete(9.0, (3.0, 2.5, 2.2, 2.0), (4.0, 3.5, 3.2, 3.0))
    trial, watch = table.begin()
    table.tell(watch, 1, 9.0, 3.5)  # far behind before its time, then as good as its own replicate
    with pytest.raises(Stopped, match=r"stopped at step 10 of 20 of replicate 1: .* 11 % worse than that of trial 0"):
        table.tell(watch, 0, 3.0, 2.6)
    table.storage.tell(trial, TrialState.PRUNED)
    assert table.rows()[1].checkpoints == {0: {5: 3.0, 10: 2.6}, 1: {5: 9.0, 10: 3.5}}


def test_a_loss_whose_perplexity_is_no_number_stops_a_training_and_not_the_study(tmp_path: Path) -> None:
    table = Table(tmp_path, Behind(margin=5.0, after=5))
    table.complete(9.0, (3.0, 2.5, 2.2, 2.0))
    _, watch = table.begin()
    with pytest.raises(Stopped, match="worse than that of trial 0 at this step"):
        table.tell(watch, 0, 5_000.0)


def test_a_training_at_its_last_checkpoint_is_not_stopped(tmp_path: Path) -> None:
    table = Table(tmp_path, Behind(margin=5.0, after=20))
    table.complete(9.0, (3.0, 2.5, 2.2, 2.0))
    _, watch = table.begin()
    table.tell(watch, 0, 9.0, 9.0, 9.0, 9.0)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_optunas_median_sees_the_first_replicate_alone_whatever_the_direction(tmp_path: Path, direction: str) -> None:
    metric = "perplexity" if direction == "minimize" else "reasoning"
    objectives = (Objective(metric=metric, direction=direction),)
    table = Table(tmp_path, Median(startup_trials=2, after=10), objectives=objectives)
    for value in (1.0, 2.0, 3.0):
        table.complete(value, (3.0, 2.5, 2.2, value), (9.0, 9.0, 9.0, 9.0))
    trial, watch = table.begin()
    table.tell(watch, 1, 9.0, 8.0)
    table.tell(watch, 0, 9.0, 2.4)
    with pytest.raises(Stopped, match="Optuna's median pruner"):
        table.tell(watch, 0, 9.0, 2.4, 2.9)
    sign = 1.0 if direction == "minimize" else -1.0
    shown = table.storage.trials()[trial.number].intermediate_values
    assert shown == {5: sign * 9.0, 10: sign * 2.4, 15: sign * 2.9}


def test_optunas_hyperband_stops_the_worse_ones_of_a_rung(tmp_path: Path) -> None:
    table = Table(tmp_path, Hyperband(after=5, reduction=2))
    ended = []
    for loss in (3.0, 3.1, 3.2, 3.3, 3.4, 3.5):  # every one is worse than all before
        trial, watch = table.begin()
        try:
            table.tell(watch, 0, loss, loss, loss, loss)
            table.storage.tell(trial, TrialState.COMPLETE, [loss])
        except Stopped:
            table.storage.tell(trial, TrialState.PRUNED)
        ended.append(table.rows()[trial.number].state)
    assert ended[0] == "complete" and "pruned" in ended


def looked(table: Table, *scores: float, position: int = 0) -> str:
    """How a trial ends whose aggregate in a replicate is this at the checkpoints that are looked at."""
    trial, watch = table.begin()
    table.scores = {("aggregate", position, 10 * (n + 1)): score for n, score in enumerate(scores)}
    try:
        table.tell(watch, position, 9.0, 9.0, 9.0, 9.0)  # the loss does not matter
    except Stopped as stopped:
        table.storage.tell(trial, TrialState.PRUNED)
        return str(stopped)
    table.storage.tell(trial, TrialState.COMPLETE, [1.0])
    return ""


def test_of_suites_more_is_better_and_steps_without_a_look_say_nothing(tmp_path: Path) -> None:
    table = Table(tmp_path, Behind(metric="aggregate", margin=2.0, after=10))
    assert looked(table, 60.0, 70.0) == ""
    why = looked(table, 57.0, 80.0)
    assert "stopped at step 10 of 20 of replicate 1" in why
    assert "aggregate 57 is 3 points below that of trial 0 at this step (margin 2)" in why
    assert looked(table, 90.0, 95.0) == ""
    assert [row.checkpoints for row in table.rows()] == [
        {0: {10: 60.0, 20: 70.0}},
        {0: {10: 57.0}},
        {0: {10: 90.0, 20: 95.0}},
    ]


@pytest.mark.parametrize("metric", ["perplexity", "reasoning"])
def test_optunas_median_of_suites_stops_the_lower_ones_whatever_the_direction(tmp_path: Path, metric: str) -> None:
    objectives = (Objective(metric=metric, direction="minimize" if metric == "perplexity" else "maximize"),)
    table = Table(tmp_path, Median(metric="aggregate", startup_trials=2, after=10), objectives=objectives)
    assert [looked(table, score, score) for score in (50.0, 60.0, 70.0)] == ["", "", ""]
    assert looked(table, 65.0, 66.0) == ""
    assert "Optuna's median pruner finds its aggregate 51 too low" in looked(table, 51.0, 99.0)


def test_a_worker_that_takes_a_trial_over_goes_on_with_its_losses(tmp_path: Path) -> None:
    table = Table(tmp_path, Behind(margin=5.0, after=10))
    table.complete(9.0, (3.0, 2.5, 2.2, 2.0))
    trial, watch = table.begin()
    table.tell(watch, 0, 3.0)
    again = Watch(table.storage, trial, table.design, lambda: None, lambda *_: None)
    table.tell(again, 0, 3.0, 2.5)
    assert table.rows()[1].checkpoints == {0: {5: 3.0, 10: 2.5}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"checkpoint_pruner": Behind(margin=1.0, after=20)}, "must be at most 15, the last checkpoint before the end"),
        (
            {
                "checkpoint_pruner": Behind(margin=1.0, after=5),
                "space": {"schedule.checkpoint_every": Categorical(choices=(5, 10))},
            },
            "schedule.checkpoint_every is searched",
        ),
        (
            {
                "checkpoint_pruner": Median(startup_trials=1, after=5),
                "pruner": Wilcoxon(p=0.5, after=1),
                "replicates": PAIR,
            },
            "excludes pruner 'wilcoxon'",
        ),
        (
            {"checkpoint_pruner": Behind(metric="aggregate", margin=1.0, after=5)},
            "only where the recipe has a learning curve; declare evaluation.curve, or use metric='validation-loss'",
        ),
        (
            {"checkpoint_pruner": Behind(metric="minimal_pair", margin=1.0, after=10), "recipe": curved()},
            "'minimal_pair' is not scored by evaluation.curve; did you mean 'minimal_pairs'?",
        ),
        (
            {"checkpoint_pruner": Behind(metric="qa_congruence", margin=1.0, after=10), "recipe": curved()},
            "'qa_congruence' is not scored by evaluation.curve",
        ),
        (
            {"checkpoint_pruner": Behind(metric="aggregate", margin=1.0, after=11), "recipe": curved()},
            "after=11 must be at most 10, the last checkpoint before the end of 20 steps at which it is measured",
        ),
        (
            {
                "checkpoint_pruner": Behind(metric="aggregate", margin=1.0, after=5),
                "recipe": edit(curved(), {"evaluation.curve.every": 20}),
            },
            "'behind': aggregate is measured every 20 steps and training ends at 20, so nothing is ever stopped",
        ),
        (
            {
                "checkpoint_pruner": Behind(metric="human-likeness", margin=1.0, after=10),
                "recipe": curved(reading=True),
            },
            "answers of words are neither right nor wrong",
        ),
        (
            {
                "checkpoint_pruner": Hyperband(after=5, reduction=3),
                "objectives": (
                    Objective(metric="perplexity", direction="minimize"),
                    Objective(metric="reasoning", direction="maximize"),
                ),
            },
            "a study with 2 objectives cannot prune",
        ),
    ],
)
def test_a_rule_for_checkpoints_that_cannot_hold_is_refused(changes: dict[str, Any], words: str) -> None:
    (fault,) = study_faults(small_design(**changes), "here")
    assert fault.startswith("here: checkpoint_pruner") and words in fault


def test_shares_that_lengthen_trainings_are_not_compared_at_equal_steps() -> None:
    share = {"mixture.share": Float(low=0.1, high=0.5)}
    held = {hold: edit(contrastive(), {"mixture.hold": hold}) for hold in ("compute", "real-passes")}

    def faults(hold: str, space: dict[str, Any], after: int = 5) -> list[str]:
        changes = {"recipe": held[hold], "space": space, "checkpoint_pruner": Behind(margin=1.0, after=after)}
        return study_faults(small_design(**changes), "here")

    assert faults("compute", share) == []
    (fault,) = faults("real-passes", share)
    assert "mixture.share is searched" in fault
    (fault,) = faults("compute", {"mixture.hold": Categorical(choices=("compute", "real-passes"))})
    assert "mixture.hold is searched" in fault
    rates = {"schedule.learning_rate": Float(low=1e-3, high=1e-2)}
    assert faults("real-passes", rates, after=20) == []  # of the longer training
    assert faults("compute", rates, after=20) != []


def test_without_a_rule_a_design_is_what_it_was() -> None:
    assert "checkpoint_pruner" not in small_design().canonical()
    assert small_design().checkpoint_pruner == NoPruning()
