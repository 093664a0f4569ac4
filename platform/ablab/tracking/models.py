"""The judged checkpoint of a training as a logged and registered model that `mlflow.transformers` loads.

`mlflow.transformers.save_model` imports torch and copies; here the few lines of its `MLmodel` file are written
directly (format: https://mlflow.org/docs/latest/ml/model/) and the weights are hard-linked or uploaded.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from ablab.tracking.artifacts import put_files
from ablab.tracking.connection import created_once, load_mlflow
from ablab.tracking.views import ModelView, StageView

STEP_TAG, MODEL_TAG = "ablab.step", "ablab.model"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def publish_model(client: Any, experiment_id: str, run_id: str, train: StageView, model: ModelView) -> str:
    """The id of the logged model of `train` at `model.step`, registered as `models:/<name>@<alias>`.

    `run_id` is the training's own run. A model and a version that are there already are used again.
    """
    logged = _logged_model(client, experiment_id, run_id, train, model)
    _register(client, logged, run_id, model)
    return str(logged.model_id)


def _logged_model(client: Any, experiment_id: str, run_id: str, train: StageView, model: ModelView) -> Any:
    known = client.search_logged_models([experiment_id], f"source_run_id = '{run_id}'")
    logged = next((m for m in known if m.tags.get(STEP_TAG) == str(model.step)), None)
    if logged is None:
        logged = client.create_logged_model(
            experiment_id,
            name=f"{train.key[:8]}-step-{model.step}",
            source_run_id=run_id,
            tags={STEP_TAG: str(model.step), "ablab.stage_key": train.key},
            model_type="causal-lm",
        )
    if str(logged.status) != "READY":
        _put_weights(client, logged, run_id, train.directory / "checkpoints" / f"step-{model.step:08d}", model)
        logged = client.finalize_logged_model(logged.model_id, "READY")
        client.log_outputs(run_id, [load_mlflow().entities.LoggedModelOutput(logged.model_id, model.step)])
    return logged


def _put_weights(client: Any, logged: Any, run_id: str, checkpoint: Path, model: ModelView) -> None:
    files = {f"model/{file.name}": file for file in sorted(checkpoint.iterdir()) if file.is_file()}
    for name in TOKENIZER_FILES:
        if (model.tokenizer / name).is_file():
            files[f"components/tokenizer/{name}"] = model.tokenizer / name
    with tempfile.TemporaryDirectory(prefix="ablab-model-") as folder:
        description = Path(folder) / "MLmodel"
        description.write_text(_mlmodel(logged, run_id), encoding="utf-8")
        put_files(
            logged.artifact_location,
            files | {"MLmodel": description},
            lambda staging: client.log_model_artifacts(logged.model_id, staging),
        )


def _mlmodel(logged: Any, run_id: str) -> str:
    """The `MLmodel` file: YAML, of which JSON is a part."""
    flavor = {
        "task": "text-generation",
        "instance_type": "TextGenerationPipeline",
        "pipeline_model_type": "LlamaForCausalLM",
        "source_model_name": "model",
        "model_binary": "model",
        "tokenizer_type": "PreTrainedTokenizerFast",
        "components": ["tokenizer"],
    }
    return json.dumps(
        {
            "artifact_path": logged.artifact_location,
            "flavors": {"transformers": flavor},
            "mlflow_version": load_mlflow().__version__,
            "model_id": logged.model_id,
            "model_uuid": logged.model_id,
            "run_id": run_id,
        },
        indent=1,
    )


def _register(client: Any, logged: Any, run_id: str, model: ModelView) -> None:
    versions = client.search_model_versions(f"name = '{model.name}'")
    version = next((v for v in versions if v.tags.get(MODEL_TAG) == logged.model_id), None)
    if version is None:
        created_once(lambda: client.create_registered_model(model.name))
        version = client.create_model_version(
            model.name,
            logged.artifact_location,
            run_id=run_id,
            model_id=logged.model_id,
            tags={MODEL_TAG: logged.model_id, STEP_TAG: str(model.step)},
        )
    elif client.get_registered_model(model.name).aliases.get(model.alias) is not None:
        return  # a later execution may have taken the alias over; publishing an older one again leaves it there
    client.set_registered_model_alias(model.name, model.alias, version.version)
