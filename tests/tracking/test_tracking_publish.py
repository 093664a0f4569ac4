from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from ablab.errors import InputError, RunError
from ablab.tracking import ExecutionView, Published, StageView, Tracker
from ablab.tracking.shared_view import prepared_views

Make = Callable[..., ExecutionView]


def client_of(tracker: Tracker) -> MlflowClient:
    return MlflowClient(tracking_uri=tracker.uri, registry_uri=tracker.uri)


def everything(tracker: Tracker) -> list[Any]:
    """All that MLflow holds, including deleted runs and when models were last changed."""
    client = client_of(tracker)
    experiments = client.search_experiments()
    runs = client.search_runs([e.experiment_id for e in experiments], run_view_type=3, max_results=1_000)
    models = client.search_registered_models()
    versions = client.search_model_versions()
    return [
        sorted((e.name, json.dumps(e.tags, sort_keys=True), e.last_update_time) for e in experiments),
        sorted(json.dumps(run.to_dictionary(), sort_keys=True) for run in runs),
        sorted((m.name, json.dumps(m.aliases), m.last_updated_timestamp) for m in models),
        sorted((v.name, v.version, v.source, v.last_updated_timestamp) for v in versions),
    ]


def arms_of(tracker: Tracker, published: Published) -> dict[str, Any]:
    runs = client_of(tracker).search_runs(
        [published.experiment_id], f"tags.`mlflow.parentRunId` = '{published.run_id}'"
    )
    return {run.info.run_name: run for run in runs}


def test_an_execution_has_a_parent_run_and_a_child_for_every_arm_and_replicate(
    tracker: Tracker, make_execution: Make
) -> None:
    view = make_execution()
    published = tracker.publish_execution(view)
    client = client_of(tracker)
    parent = client.get_run(published.run_id)
    assert (parent.info.run_name, parent.info.status) == ("demo@1 tiny", "FINISHED")
    assert (parent.info.start_time, parent.info.end_time) == (view.started_ms, view.finished_ms)
    assert parent.data.params == {"scale": "tiny", "set.schedule.steps": "10"}
    assert parent.data.tags["mlflow.note.content"].splitlines()[0] == view.outcome_line
    assert client.get_experiment(published.experiment_id).name == "demo"
    assert [file.path for file in client.list_artifacts(published.run_id)] == ["comparison.json"]
    arms = arms_of(tracker, published)
    assert set(arms) == {"real-only · t42-g1", "contrastive · t42-g1"}
    arm = arms["contrastive · t42-g1"]
    assert arm.data.params == {"arm": "contrastive", "mixture.share": "0.3", "schedule.steps": "10"}
    scores = {"reasoning": 62.25, "perplexity": 30.5}
    differences = {"difference/reasoning": 1.0, "difference/perplexity": -3.2}
    assert {name: value for name, value in arm.data.metrics.items() if "learning/" not in name} == scores | differences
    assert arm.data.tags["ablab.verdicts"] == "inconclusive: contrast-not-mask"
    judged = client.get_metric_history(arm.info.run_id, "learning/validation_loss_nats")
    assert [(point.step, point.value) for point in judged] == [(5, 5.5), (10, 5.5)]
    losses = client.get_metric_history(arm.info.run_id, "learning/train_loss_nats")
    assert [point.step for point in losses] == list(range(1, 11))
    key, run_id = arm.data.tags["ablab.stage.train"].split()
    assert client.get_run(run_id).data.tags["ablab.stage_key"] == key == view.arms[1].stages["train"]


def test_scores_at_checkpoints_are_curves_of_the_arm_and_of_the_stage_and_have_charts(
    tracker: Tracker, make_execution: Make, make_stage: Callable[..., StageView], tmp_path: Path
) -> None:
    suites = {name: {"group": "g", "chance": 50.0, "scores": [51.0, at]} for name, at in (("one", 60.0), ("two", 70.0))}
    result = {"steps": [5, 10], "suites": suites, "aggregate": [51.0, 65.0]}
    curve = make_stage(tmp_path, "curve", {"steps": [5, 10]}, result)
    view = make_execution()
    arms = tuple(dataclasses.replace(arm, stages={**arm.stages, "curve": curve.key}) for arm in view.arms)
    view = dataclasses.replace(view, stages=(*view.stages, curve), arms=arms)
    published = tracker.publish_execution(view)
    client = client_of(tracker)
    for run_id, prefix in (
        (arms_of(tracker, published)["contrastive · t42-g1"].info.run_id, "learning/"),
        (published.stages[curve.key], ""),
    ):
        for name, last in (("score/one", 60.0), ("score/two", 70.0), ("aggregate", 65.0)):
            points = client.get_metric_history(run_id, prefix + name)
            assert [(point.step, point.value) for point in points] == [(5, 51.0), (10, last)]
    (learning,) = (one for one in prepared_views(view) if one.id == "ablab-learning")
    drawn = [(card["metricKey"], card["scaleType"]) for cards in learning.sections.values() for card in cards]
    scores = ["learning/aggregate", "learning/score/one", "learning/score/two"]
    assert drawn[2:] == [(name, "linear") for name in scores]
    assert {scale for _, scale in drawn[:2]} == {"log"}


def test_an_arm_names_its_corpora_as_inputs_and_its_model_as_output(tracker: Tracker, make_execution: Make) -> None:
    view = make_execution()
    arm = arms_of(tracker, tracker.publish_execution(view))["contrastive · t42-g1"]
    (dataset,) = arm.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("microworld", view.arms[1].stages["corpus"][:36])
    assert [(tag.key, tag.value) for tag in dataset.tags] == [("mlflow.data.context", "train")]
    (output,) = arm.outputs.model_outputs
    assert client_of(tracker).get_logged_model(output.model_id).tags["ablab.step"] == "10"


def test_a_stage_leads_to_what_it_was_made_from(tracker: Tracker, trainings: dict[str, StageView]) -> None:
    made, source = trainings["contrastive"], trainings["real-only"]
    child = dataclasses.replace(made, identity={**made.identity, "inputs": {"good": source.key, "gone": "f" * 64}})
    view = _only_stages(child, source)
    published = tracker.publish_execution(view)
    client = client_of(tracker)
    run = client.get_run(published.stages[child.key])
    page = f"#/experiments/{run.info.experiment_id}/runs/{published.stages[source.key]}?workflowType=machine_learning"
    note = run.data.tags["mlflow.note.content"]
    assert f"made from [good]({page}), gone `ffffffffffff`." in note


def _only_stages(*stages: StageView) -> ExecutionView:
    return ExecutionView("e", "l", "a", "tiny", "q", "finished", "o", "d", "0", 1, 2, arms=(), stages=stages)


def test_a_stage_has_its_identity_results_curves_and_files(tracker: Tracker, trainings: dict[str, StageView]) -> None:
    view = trainings["contrastive"]
    run_id = tracker.publish_stage(view)
    client = client_of(tracker)
    run = client.get_run(run_id)
    assert client.get_experiment(run.info.experiment_id).name == "ablab/stages"
    assert run.info.run_name == f"train · {view.key[:8]}"
    assert run.info.end_time - run.info.start_time == 2_500  # the manifest's seconds
    assert run.data.params["model.layers"] == "2"
    assert run.data.params["numerics.device"] == "cpu"
    assert run.data.metrics["parameters"] == 5_000
    assert run.data.metrics["cost/tokens"] == 640
    losses = client.get_metric_history(run_id, "train_loss_nats")
    assert [(point.step, point.value) for point in losses] == [(s, 6 - s / 10) for s in range(1, 11)]
    assert [point.step for point in client.get_metric_history(run_id, "validation_loss_nats")] == [5, 10]
    files = {file.path for file in client.list_artifacts(run_id)}
    assert files == {"stage.json", "result.json", "manifest.json", "curves.jsonl"}


def test_publishing_again_changes_nothing(tracker: Tracker, make_execution: Make) -> None:
    first = tracker.publish_execution(make_execution())
    before = everything(tracker)
    assert Tracker(tracker.uri, tracker.artifacts).publish_execution(make_execution()) == first
    assert everything(tracker) == before


def test_a_lost_database_is_rebuilt_whole(tracker: Tracker, make_execution: Make, tmp_path: Path) -> None:
    def shown(published: Published) -> Any:
        arms = arms_of(tracker, published)
        models = {m.name: sorted(m.aliases) for m in client_of(tracker).search_registered_models()}
        return [len(published.stages), models, {n: (a.data.params, a.data.metrics) for n, a in sorted(arms.items())}]

    before = shown(tracker.publish_execution(make_execution()))
    shutil.rmtree(tmp_path / "a home")
    tracker = Tracker(tracker.uri, tracker.artifacts)
    assert shown(tracker.publish_execution(make_execution())) == before


def test_an_execution_that_runs_and_then_finishes_is_one_run(tracker: Tracker, make_execution: Make) -> None:
    finished = make_execution()
    running = dataclasses.replace(finished, status="running", finished_ms=None, arms=(), parent_metrics={})
    begun = tracker.publish_execution(running)
    assert client_of(tracker).get_run(begun.run_id).info.status == "RUNNING"
    ended = tracker.publish_execution(finished)
    assert ended.run_id == begun.run_id
    assert client_of(tracker).get_run(begun.run_id).info.status == "FINISHED"


def test_changed_scores_replace_the_old_and_changed_factors_make_a_new_run(
    tracker: Tracker, make_execution: Make
) -> None:
    old = arms_of(tracker, tracker.publish_execution(make_execution()))
    better = make_execution(score=70.0)
    rescored = arms_of(tracker, tracker.publish_execution(better))
    assert {n: run.info.run_id for n, run in rescored.items()} == {n: run.info.run_id for n, run in old.items()}
    assert rescored["real-only · t42-g1"].data.metrics["reasoning"] == 70.0
    arms = (dataclasses.replace(better.arms[0], factors={"mixture.share": "0.9"}),)
    changed = arms_of(tracker, tracker.publish_execution(dataclasses.replace(better, arms=arms)))
    assert {name: run.data.params for name, run in changed.items()} == {
        "real-only · t42-g1": {"arm": "real-only", "mixture.share": "0.9"}
    }


def test_publishing_goes_on_after_a_kill(
    tracker: Tracker, make_execution: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(Exception):
        pass

    def killed(*_: object, **__: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_terminated", killed)
        for _ in range(2):
            with pytest.raises(KilledError):
                tracker.publish_execution(make_execution())
    published = tracker.publish_execution(make_execution())
    runs = client_of(tracker).search_runs(["1", "2"])
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert len(runs) == len(make_execution().stages) + 3
    losses = client_of(tracker).get_metric_history(next(iter(published.stages.values())), "train_loss_nats")
    assert len(losses) == len({point.step for point in losses})


def test_a_run_that_was_deleted_by_hand_comes_back(tracker: Tracker, make_execution: Make) -> None:
    published = tracker.publish_execution(make_execution())
    client = client_of(tracker)
    client.delete_run(arms_of(tracker, published)["contrastive · t42-g1"].info.run_id)
    client.delete_experiment(client.get_experiment_by_name("ablab/stages").experiment_id)
    again = Tracker(tracker.uri, tracker.artifacts).publish_execution(make_execution())
    assert set(arms_of(tracker, again)) == {"real-only · t42-g1", "contrastive · t42-g1"}
    assert again.stages == published.stages


def test_the_experiment_describes_the_execution_that_began_last(tracker: Tracker, make_execution: Make) -> None:
    later = dataclasses.replace(make_execution("e2", make_execution().started_ms + 1), outcome_line="Later.")
    published = tracker.publish_execution(later)
    tracker.publish_execution(make_execution())
    tags = client_of(tracker).get_experiment(published.experiment_id).tags
    assert tags["mlflow.note.content"].startswith("Later.\n")
    assert "e2" in tags["ablab.latest"]


def test_a_database_whose_artifacts_lie_elsewhere_is_refused(tracker: Tracker, make_execution: Make) -> None:
    tracker.publish_execution(make_execution())
    with pytest.raises(InputError, match=r"was the folder moved.*ablab publish"):
        Tracker(tracker.uri, tracker.artifacts / "moved").publish_execution(make_execution())


def test_a_failure_of_mlflow_says_that_nothing_is_lost(tmp_path: Path, make_execution: Make) -> None:
    (tmp_path / "mlflow.db").write_text("no database" * 100)
    with pytest.raises(RunError, match=r"Results are safe.*ablab publish"):
        Tracker(f"sqlite:///{tmp_path}/mlflow.db", tmp_path).publish_execution(make_execution())


def test_artifacts_never_write_into_files_of_the_store(tmp_path: Path) -> None:
    from ablab.tracking.artifacts import LINK_BYTES, place

    stored, target = tmp_path / "model.safetensors", tmp_path / "artifacts" / "model.safetensors"
    stored.write_bytes(b"a" * LINK_BYTES)
    place(stored, target)
    assert target.samefile(stored)
    other = tmp_path / "other"
    other.write_bytes(b"b")
    place(other, target)
    assert stored.read_bytes() == b"a" * LINK_BYTES
    assert target.read_bytes() == b"b"
