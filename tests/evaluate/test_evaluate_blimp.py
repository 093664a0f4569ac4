"""BLiMP and Supplement as their authors publish them, through the same path as every suite."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from ablab.corpora.suites import build_suite
from ablab.evaluate.floor import evaluate_floor
from ablab.store.context import StageContext

PROJECT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("ABLAB_SHARED_DATA", PROJECT.parent / "shared" / "data")) / "evaluation_data" / "fast_eval"

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not DATA.is_dir(), reason="needs the BabyLM evaluation data (ABLAB_SHARED_DATA)"),
]


def test_real_suites_are_read_and_every_item_scored(fresh: Callable[..., StageContext]) -> None:
    suites: list[dict[str, Any]] = []
    locations: dict[str, Path] = {}
    for name, folder in (("blimp", "blimp_fast"), ("supplement", "supplement_fast")):
        files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((DATA / folder).iterdir())}
        locations |= {digest: DATA / folder / file for file, digest in files.items()}
        suites.append({"kind": "babylm", "name": name, "group": "linguistic", "items_per_task": 20, "digests": files})
    built = fresh({"suites": suites})
    result = build_suite(replace(built, locations=locations))
    (built.out / "result.json").write_text(json.dumps(result), encoding="utf-8")
    ctx = fresh({"order": 5, "test_tokens": 150}, suite=built.out.name)
    scores = evaluate_floor(ctx)["suites"]
    assert {name: len(entry["tasks"]) for name, entry in scores.items()} == {"blimp": 67, "supplement": 5}
    assert pq.read_metadata(ctx.out / "items.parquet").num_rows == 72 * 20
    assert 30 < scores["blimp"]["score"] < 70
