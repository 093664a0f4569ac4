"""Trainings that a search stops at a checkpoint: really ended, recorded with their cost, resumed by who needs them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from study_helper import finish, start_study, study_project
from tiny_helper import command, environment

from ablab.search.looks import selection_score

STEPS, EVERY = 40, 5
ABLATION = f"""
from ablab.spec import Ablation, Arm, Design, Replicate, edit
from experiments.scales import tiny

ABLATION = Ablation(
    name="slower",
    version=1,
    question="Does the same point that a study gave up learn at all?",
    designs={{
        "tiny": Design(
            control="usual",
            recipe=edit(tiny(), {{"schedule.steps": {STEPS}, "schedule.checkpoint_every": {EVERY}}}),
            arms=(Arm(name="slow", edits={{"schedule.learning_rate": 1e-5}}),),
            replicates=(Replicate(train_seed=1, generation_seed=1),),
            claims=(),
        )
    }},
)
"""


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A study of a usual learning rate and of one with which hardly anything is learned."""
    folder = study_project(
        tmp_path_factory.mktemp("pruned"),
        space='{"schedule.learning_rate": Categorical(choices=(5e-3, 1e-5))}',
        edits=f'"schedule.checkpoint_every": {EVERY}',
        steps=STEPS,
        checkpoint_pruner="Behind(margin=1.0, after=5)",
        budget="trials=2, hours=None, device_hours=None, failures_in_a_row=2",
    )
    (folder / "ablations/slower.py").write_text(ABLATION)
    code, output, errors = finish(start_study(folder, "--json"))
    assert code == 0, errors
    return folder, json.loads(output)


def stage_of(folder: Path, row: dict[str, Any], role: str) -> str:
    record = json.loads((folder / f"home/store/executions/{row['executions'][0]}.json").read_text())
    return str(record["roles"][f"trial-{row['number']}"][0][role][1])


def test_a_trial_far_behind_is_pruned_at_a_checkpoint_with_its_losses_by_step_and_its_cost(
    searched: tuple[Path, dict[str, Any]],
) -> None:
    folder, told = searched
    first, second = (row for row in told["rows"] if row["duplicate_of"] is None)
    assert (first["state"], second["state"]) == ("complete", "pruned")
    assert len(first["checkpoints"]["0"]) == STEPS // EVERY
    assert second["values"] is None and second["replicates"] == []
    assert list(second["checkpoints"]) == ["0"] and "5" in second["checkpoints"]["0"]
    assert f"stopped at step 5 of {STEPS} of replicate 1" in second["cause"]
    assert 0 < second["seconds"] < first["seconds"]
    assert [winner["number"] for winner in told["winners"]] == [0]
    key = stage_of(folder, second, "train")
    assert not (folder / "home/store/train" / key).exists(), "it really ended"
    assert list((folder / "home/store/.work" / key).glob("resume/step-*")), "and can go on"


def test_optuna_knows_the_pruned_trial_by_its_losses_and_without_a_value(
    searched: tuple[Path, dict[str, Any]],
) -> None:
    import optuna

    folder, told = searched
    stored = optuna.load_study(study_name="rates@1 tiny", storage=f"sqlite:///{folder / 'home/studies.db'}")
    pruned = [trial for trial in stored.trials if trial.state == optuna.trial.TrialState.PRUNED]
    assert pruned and all(trial.values is None for trial in pruned)
    rows = {row["number"]: row for row in told["rows"]}
    losses = {int(step): loss for step, loss in rows[pruned[0].number]["checkpoints"]["0"].items()}
    assert pruned[0].intermediate_values == losses


def test_an_ablation_that_needs_the_stopped_training_resumes_it(searched: tuple[Path, dict[str, Any]]) -> None:
    folder, told = searched
    row = next(row for row in told["rows"] if row["state"] == "pruned")
    key = stage_of(folder, row, "train")
    run = command("run-ablation", "slower", "--scale", "tiny", "--jobs", "1")
    around = environment(folder / "home", ABLAB_PROJECT=str(folder), OMP_NUM_THREADS="1")
    planned = subprocess.run([*run, "--plan", "--json"], env=around, capture_output=True, text=True, check=True)
    states = {stage["key"]: stage["state"] for stage in json.loads(planned.stdout)["stages"]}
    assert states[key] == "resumable"
    done = subprocess.run(run, env=around, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((folder / "home/store/train" / key / "manifest.json").read_text())
    assert manifest["costs"]["resumed_from_step"] >= 5


def test_a_rule_over_suites_sees_what_the_trainings_looks_score_on_selection_data(tmp_path: Path) -> None:
    """Of a look nothing is computed again when the training is done, and it costs the training no byte."""
    folder = study_project(
        tmp_path,
        edits='"evaluation.curve": {"every": 5, "suites": ["minimal_pairs"]}',
        steps=10,
        checkpoint_pruner='Median(metric="minimal_pairs", startup_trials=1, after=5)',
        budget="trials=1, hours=None, device_hours=None, failures_in_a_row=1",
    )
    code, output, errors = finish(start_study(folder, "--json"))
    assert code == 0, errors
    row, store = json.loads(output)["rows"][0], folder / "home/store"
    curve, training, suite = (store / role / stage_of(folder, row, role) for role in ("curve", "train", "suite"))
    table = pq.read_table(curve / "items.parquet")
    scores = {
        str(step): selection_score(table.filter(pc.field("step") == step), suite, "minimal_pairs") for step in (5, 10)
    }
    assert row["checkpoints"] == {"0": scores}
    assert json.loads((training / "manifest.json").read_text())["costs"]["look_seconds"] > 0
    assert "tokens" not in json.loads((curve / "manifest.json").read_text())["costs"]
    assert "minimal_pairs" not in (training / "curves.jsonl").read_text()
