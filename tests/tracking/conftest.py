"""A small published world: real stage directories, a real two-layer Llama and its tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ablab.settings import Settings
from ablab.spec.canonical import digest
from ablab.tracking import (
    ArmView,
    DatasetView,
    ExecutionView,
    ModelView,
    Server,
    StageView,
    Tracker,
    model_name,
    start_server,
)
from ablab.tracking.connection import connect
from ablab.tracking.services import free_port

STEP = 10
START = 1_764_000_000_000  # milliseconds since 1970
ARMS = ("real-only", "contrastive")


def write_stage(root: Path, kind: str, params: dict[str, Any], result: dict[str, Any], **files: str) -> StageView:
    """A stage directory as the store makes it, small files only."""
    identity = {"schema": 1, "kind": kind, "revision": 1, "params": params, "inputs": {}}
    key = digest(identity)
    folder = root / kind / key
    folder.mkdir(parents=True)
    manifest = {"files": {}, "numerics": {"threads": 1, "device": "cpu"}, "costs": {"seconds": 2.5, "tokens": 640.0}}
    for name, value in (("stage", identity), ("result", result), ("manifest", manifest)):
        (folder / f"{name}.json").write_text(json.dumps(value))
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return StageView(key, kind, folder, identity, result, manifest, finished_ms=START + 10_000)


@pytest.fixture
def make_stage() -> Callable[..., StageView]:
    """Stage directories of any kind."""
    return write_stage


def curves(steps: int) -> str:
    rows = [
        {"step": s, "train_loss_nats": 6 - s / steps, "learning_rate": 1e-3, "gradient_norm": 0.5, "tokens": 64 * s}
        | ({"validation_loss_nats": 5.5} if s % 5 == 0 else {})
        for s in range(1, steps + 1)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


def write_checkpoint(folder: Path) -> None:
    """A Llama of two layers with a vocabulary of 260, as a training leaves it."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=260,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=3,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def write_tokenizer(folder: Path) -> None:
    """Byte-level BPE with `<unk> <s> </s> <pad>` = 0..3 and no merges."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = ["<unk>", "<s>", "</s>", "<pad>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({name: index for index, name in enumerate(names)}, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)


@pytest.fixture(scope="session")
def tokenizer_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return folder


@pytest.fixture(scope="session")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, StageView]:
    """One finished training for each arm."""
    root = tmp_path_factory.mktemp("trainings")
    views = {}
    for seed, arm in enumerate(ARMS):
        result = {
            "parameters": 5_000,
            "checkpoints": [{"step": STEP, "validation_loss_nats": 5.5}],
            "final": {"a": seed},
        }
        view = write_stage(
            root, "train", {"train_seed": seed, "model": {"layers": 2}}, result, curves__jsonl=curves(STEP)
        )
        write_checkpoint(view.directory / "checkpoints" / f"step-{STEP:08d}")
        views[arm] = view
    return views


@pytest.fixture(scope="session")
def make_execution(
    tmp_path_factory: pytest.TempPathFactory, trainings: dict[str, StageView], tokenizer_directory: Path
) -> Callable[..., ExecutionView]:
    """An execution of two arms in one replicate, with a corpus, trainings, models and a report."""
    root = tmp_path_factory.mktemp("execution")
    corpus = write_stage(root, "corpus", {"split_seed": 1}, {"splits": {"train": {"words": 900}}}, samples__json="[]")
    report = root / "comparison.json"
    report.write_text('{"verdict": "inconclusive"}')

    def make(identifier: str = "e1", started_ms: int = START, score: float = 61.25) -> ExecutionView:
        arms = tuple(
            ArmView(
                arm=arm,
                replicate="t42-g1",
                factors={"mixture.share": str(0.3 * index), "schedule.steps": "10"},
                metrics={"reasoning": score + index, "perplexity": 31.5 - index},
                differences={"reasoning": 1.0, "perplexity": -3.2} if index else {},
                verdicts={"contrast-not-mask": "inconclusive"} if index else {},
                stages={"corpus": corpus.key, "train": trainings[arm].key},
                datasets=(DatasetView("microworld", corpus.key, "train", {"words": 900}),),
                model=ModelView(
                    trainings[arm].key, STEP, tokenizer_directory, model_name("demo", "tiny", arm), "t42-g1"
                ),
            )
            for index, arm in enumerate(ARMS)
        )
        return ExecutionView(
            id=identifier,
            label="demo@1 tiny",
            ablation="demo",
            scale="tiny",
            question="Is it the contrast?",
            status="finished",
            outcome_line="Contrast: inconclusive.",
            description_md="Two arms, one replicate.",
            design_digest="d" * 64,
            started_ms=started_ms,
            finished_ms=started_ms + 60_000,
            arms=arms,
            stages=(corpus, *trainings.values()),
            edits={"schedule.steps": "10"},
            parent_metrics={"claims/contrast-not-mask/difference": 1.0},
            artifacts={"comparison.json": report},
            control="real-only",
            headline=("reasoning", "perplexity"),
            top=("reasoning",),
            claimed=("mixture.share",),
        )

    return make


def settings_in(home: Path) -> Settings:
    """The embedded MLflow under `home`, whatever the environment says."""
    uri = f"sqlite:///{home / 'mlflow.db'}"
    return Settings(
        home, home, str(home / "store"), f"sqlite:///{home / 'registry.db'}", home, uri, home / "mlartifacts"
    )


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without runs: creating one takes seconds, copying it does not."""
    home = tmp_path_factory.mktemp("empty")
    connect(settings_in(home).tracking_uri)
    return home / "mlflow.db"


@pytest.fixture
def tracker(tmp_path: Path, empty_database: Path) -> Tracker:
    """A tracker on an SQLite database of its own, in a folder with a space in its name."""
    home = tmp_path / "a home"
    home.mkdir()
    (home / "mlflow.db").write_bytes(empty_database.read_bytes())
    return Tracker.of(settings_in(home))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real MLflow server on a free port."""
    with start_server(settings_in(tmp_path_factory.mktemp("server")), free_port()) as running:
        yield running
