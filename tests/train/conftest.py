"""A tiny training: two layers of width 16 on token streams in which every token follows from the one before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ablab.spec.placement import Numerics
from ablab.store.context import StageContext, silent
from ablab.train.stage import train

VOCABULARY = 32
PARAMS: dict[str, Any] = {
    "model": {"layers": 2, "hidden": 16, "heads": 2, "ffn": 32, "context": 16},
    "vocab_size": VOCABULARY,
    "schedule": {
        "steps": 12,
        "tokens_per_step": 64,
        "learning_rate": 1e-2,
        "warmup_steps": 2,
        "weight_decay": 0.1,
        "checkpoint_every": 3,
        "validation_tokens": 80,
    },
    "precision": "fp32",
    "train_seed": 7,
    "share": 0.0,
}

MakeContext = Callable[..., StageContext]


def write_streams(directory: Path, seed: int, **tokens: int) -> Path:
    """A tokens directory: token t is followed by t + 1 or, one time in four, by any."""
    directory.mkdir()
    generator = np.random.default_rng(seed)
    for split, size in tokens.items():
        jumps = generator.integers(0, VOCABULARY, size)
        steps = np.where(generator.random(size) < 0.25, jumps, 1)
        (np.cumsum(steps) % VOCABULARY).astype("<u2").tofile(directory / f"{split}.bin")
    (directory / "result.json").write_text(json.dumps({"dtype": "uint16", "tokens": tokens}))
    return directory


@pytest.fixture(scope="session")
def streams(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("streams")
    return {
        "tokens": write_streams(root / "tokens", 1, train=700, validation=200),
        "synthetic": write_streams(root / "synthetic", 2, train=300),
    }


@pytest.fixture(scope="session")
def make_context(streams: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> MakeContext:
    """`make_context(name, numerics=..., schedule={...}, until=step, **params)`: a context with its own directories."""

    def make(
        name: str = "a",
        *,
        numerics: Numerics | None = None,
        schedule: dict[str, Any] | None = None,
        until: int | None = None,
        **params: Any,
    ) -> StageContext:
        changed = PARAMS | params | {"schedule": PARAMS["schedule"] | (schedule or {})}
        root = tmp_path_factory.mktemp(name)
        out, work = root / "out", root / "work"
        out.mkdir()
        work.mkdir()
        inputs = dict(streams) if changed["share"] else {"tokens": streams["tokens"]}
        if until is not None:
            inputs["until"] = root / "until"
            inputs["until"].mkdir()
            (inputs["until"] / "result.json").write_text(json.dumps({"step": until, "rule": "at-step"}))
        return StageContext(
            key="0" * 64,
            params=changed,
            inputs=inputs,
            locations={},
            out=out,
            work=work,
            numerics=numerics or Numerics(threads=1),
            progress=silent,
            costs={},
        )

    return make


@pytest.fixture(scope="session")
def trained(make_context: MakeContext) -> tuple[StageContext, dict[str, Any]]:
    """The plain case, trained once: its context and result."""
    ctx = make_context()
    return ctx, train(ctx)


@pytest.fixture
def digest_files() -> Callable[[Path], dict[str, str]]:
    """SHA-256 of every file below a directory, by relative path."""

    def digest(directory: Path) -> dict[str, str]:
        files = sorted(path for path in directory.rglob("*") if path.is_file())
        return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    return digest
