from __future__ import annotations

from pathlib import Path

import mlflow
import pytest

from ablab.tracking import StageView, Tracker

STEP = 10


def test_a_published_model_loads_and_generates(
    tracker: Tracker, trainings: dict[str, StageView], tokenizer_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker.publish_model(trainings["contrastive"], STEP, tokenizer_directory, "ablab-demo-contrastive", "t42-g1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracker.uri)
    pipeline = mlflow.transformers.load_model("models:/ablab-demo-contrastive@t42-g1")
    (generated,) = pipeline("A cat", max_new_tokens=4, do_sample=False)
    assert generated["generated_text"].startswith("A cat")
    assert pipeline.model.config.hidden_size == 16


def test_one_checkpoint_is_stored_once_however_many_names_it_has(
    tracker: Tracker, trainings: dict[str, StageView], tokenizer_directory: Path
) -> None:
    train = trainings["real-only"]
    ids = {tracker.publish_model(train, STEP, tokenizer_directory, name, "t42-g1") for name in ("one", "two", "one")}
    assert len(ids) == 1
    client = mlflow.MlflowClient(tracking_uri=tracker.uri, registry_uri=tracker.uri)
    assert sorted((version.name, str(version.version)) for version in client.search_model_versions()) == [
        ("one", "1"),
        ("two", "1"),
    ]
    assert len(list(tracker.artifacts.rglob("model.safetensors"))) == 1


def test_an_alias_moves_to_a_new_checkpoint_and_stays_there(
    tracker: Tracker, trainings: dict[str, StageView], tokenizer_directory: Path
) -> None:
    for arm in ("real-only", "contrastive", "real-only"):
        tracker.publish_model(trainings[arm], STEP, tokenizer_directory, "shared", "t42-g1")
    client = mlflow.MlflowClient(tracking_uri=tracker.uri, registry_uri=tracker.uri)
    assert str(client.get_model_version_by_alias("shared", "t42-g1").version) == "2"
