"""A small corpus in the BabyLM layout, and stages run as the runner runs them."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest

from ablab.corpora.sources import FILES
from ablab.spec.placement import Numerics
from ablab.spec.stages import KINDS
from ablab.store.context import StageContext, silent

RunStage = Callable[..., Path]
Layout = Callable[[Mapping[str, Mapping[str, bytes | str]]], Path]


@pytest.fixture
def run_stage(tmp_path: Path) -> RunStage:
    """`run_stage(kind, params, inputs, locations)` → the stage's directory, with its `result.json`."""
    made: list[Path] = []

    def run(
        kind: str, params: Any, inputs: Mapping[str, Path] | None = None, locations: Mapping[str, str] | None = None
    ) -> Path:
        root = tmp_path / "stages" / f"{len(made)}-{kind}"
        made.append(root)
        for folder in ("out", "work"):
            (root / folder).mkdir(parents=True)
        files = {digest: Path(path) for digest, path in (locations or {}).items()}
        plain = json.loads(json.dumps(params))
        ctx = StageContext("key", plain, inputs or {}, files, root / "out", root / "work", Numerics(), silent, {})
        module, function = KINDS[kind].implementation.split(":")
        result = getattr(importlib.import_module(module), function)(ctx)
        (root / "out" / "result.json").write_text(json.dumps(result, sort_keys=True), encoding="utf-8")
        return root / "out"

    return run


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """`layout({source: {split: text}})` writes files in the BabyLM layout and returns their folder."""

    def write(sources: Mapping[str, Mapping[str, bytes | str]]) -> Path:
        for name, splits in sources.items():
            for split, content in splits.items():
                suffix = FILES[split]
                path = tmp_path / "babylm" / suffix / f"{name}.{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return tmp_path / "babylm"

    return write


@pytest.fixture
def shared_data(require: Callable[[str, str], NoReturn]) -> Path:
    """The folder with real text and suites, where there is one."""
    folder = Path(os.environ.get("ABLAB_SHARED_DATA") or Path(__file__).parents[2] / ".." / "shared" / "data")
    if not (folder / "corpora" / "babylm").is_dir():
        require("data", "there is no real text; set ABLAB_SHARED_DATA to the folder that holds corpora/babylm")
    return folder.resolve()
