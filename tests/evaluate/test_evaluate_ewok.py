"""The text of EWoK is never written: not to a stage, a cache, a temporary file, a log or a message."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from babylm_helper import PASSWORD, SECRET, encrypted_zip, ewok_zip, suite, write_layout
from corpora_helper import WORLD, recipe

from ablab.corpora.resolve import resolve_recipe
from ablab.corpora.suites import build_suite
from ablab.errors import RunError
from ablab.evaluate import harness
from ablab.evaluate.floor import evaluate_floor
from ablab.evaluate.stage import evaluate
from ablab.spec import Replicate, lower
from ablab.store.context import StageContext

Fresh = Callable[..., StageContext]
Scene = tuple[Path, StageContext]


@pytest.fixture
def scene(world: Any, fresh: Fresh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """The folder that everything is written under, and the context of an evaluation of EWoK."""
    monkeypatch.setenv("ABLAB_EWOK_PASSWORD", PASSWORD)
    data = write_layout(tmp_path / "data")
    resolved = resolve_recipe(recipe([WORLD], [suite("ewok")]), data, tmp_path / "facts.json")
    stages = lower(resolved, Replicate(train_seed=1, generation_seed=1)).roles
    made = fresh(json.loads(json.dumps(stages["suite"].params)))
    located = {digest: Path(path) for digest, path in stages["suite"].locations.items()}
    result = build_suite(replace(made, locations=located))
    (made.out / "result.json").write_text(json.dumps(result), encoding="utf-8")
    world.checkpoint("train-ewok", seed=1, context=96)
    zips = {digest: Path(path) for digest, path in stages["evaluate"].locations.items()}
    return tmp_path, fresh(suite=made.out.name, train="train-ewok", locations=zips)


def written(*folders: Path) -> Iterator[str]:
    """Everything in these folders as text, tables and all."""
    for path in (path for folder in folders for path in folder.rglob("*") if path.is_file()):
        if path.suffix == ".parquet":
            yield str(pq.read_table(path).to_pylist())
        else:
            yield path.read_bytes().decode("latin-1")


def test_neither_text_nor_password_is_in_anything_that_is_written(
    scene: Scene,
    fresh: Fresh,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder, ctx = scene
    kept = folder / "temporary"

    @contextmanager
    def never_removed(prefix: str) -> Iterator[str]:
        made = kept / f"{prefix}{len(list(kept.glob('*')))}"
        made.mkdir(parents=True)
        yield str(made)

    monkeypatch.setattr(harness, "TemporaryDirectory", never_removed)
    harness._last_built.clear()
    floor = replace(fresh({"order": 3, "test_tokens": 150}, suite=ctx.inputs["suite"].name), locations=ctx.locations)
    with caplog.at_level(logging.DEBUG):
        results = [evaluate(ctx), evaluate_floor(floor)]
    texts = [*written(folder, ctx.out, floor.out, ctx.inputs["suite"]), json.dumps(results), caplog.text]
    texts += [*capfd.readouterr()]
    assert len(list(kept.rglob("*.yaml"))) == 3 + 1
    assert sum("agent-properties" in text for text in texts) >= 5
    assert not [text for text in texts if SECRET in text or PASSWORD in text]


@pytest.mark.parametrize(("context", "fault"), [(20, "the model's context is 20 tokens"), (96, None)])
def test_errors_name_items_and_show_no_text(
    world: Any, fresh: Fresh, scene: Scene, context: int, fault: str | None
) -> None:
    _, ctx = scene
    if fault is None:
        path = next(iter(ctx.locations.values()))
        path.write_bytes(encrypted_zip({"agent-properties.jsonl": SECRET.encode()}))
        harness._last_built.clear()
    else:
        world.checkpoint("train-ewok", seed=1, context=context)
    with pytest.raises(RunError, match=fault or "changed since the run began") as caught:
        evaluate(replace(ctx, out=fresh().out))
    assert "ewok" in str(caught.value) and SECRET not in str(caught.value)


def test_without_the_password_nothing_is_scored(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    _, ctx = scene
    harness._last_built.clear()
    for value in ("", "another"):
        monkeypatch.setenv("ABLAB_EWOK_PASSWORD", value)
        with pytest.raises(RunError, match="ABLAB_EWOK_PASSWORD") as caught:
            evaluate(ctx)
        assert "another" not in str(caught.value)


def test_a_zip_of_fewer_rows_is_noticed(scene: Scene, tmp_path: Path) -> None:
    _, ctx = scene
    suite_result = ctx.inputs["suite"] / "result.json"
    path = tmp_path / "other.zip"
    path.write_bytes(ewok_zip({"social-relations": 1, "agent-properties": 2, "material-dynamics": 1}))
    result = json.loads(suite_result.read_text())
    result["suites"]["ewok"]["encrypted"] = "0" * 64
    suite_result.write_text(json.dumps(result))
    with pytest.raises(RunError, match="changed since the run began"):
        evaluate(replace(ctx, locations={"0" * 64: path}))
