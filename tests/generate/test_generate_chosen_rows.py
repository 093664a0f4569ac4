"""Rows that are left to be chosen: the fastest that fit, chosen once and recorded."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ablab.generate import chosen_rows
from ablab.generate.chosen_rows import choose, fitting, needed_bytes
from ablab.generate.stage import generate
from ablab.generate.weights import read_architecture
from ablab.spec.placement import Numerics
from ablab.store.context import StageContext


@pytest.mark.parametrize(
    ("speeds", "best"), [([10, 20, 30, 25], 64), ([10, 20, 20.5, 40], 32), ([10], 16), ([10, 5], 16), ([1, 2, 4], 64)]
)
def test_rows_double_as_long_as_that_makes_them_faster(speeds: list[float], best: int) -> None:
    candidates = [16 * 2**turn for turn in range(len(speeds))]
    assert choose(candidates, dict(zip(candidates, speeds, strict=True)).__getitem__) == best


def test_memory_is_that_of_the_caches_and_of_the_vocabulary(tmp_path: Path, checkpoint: Callable[..., None]) -> None:
    checkpoint(tmp_path / "one", seed=1)
    shape = read_architecture(tmp_path / "one")  # 2 layers, 2 key/value heads of 4
    caches = 2 * 2 * 2 * 4 * 30 * 4
    assert needed_bytes([shape], 30, 4) == caches + 6 * 4 * 260
    assert needed_bytes([shape, shape], 30, 4) == 2 * caches + 6 * 4 * 260


def test_all_processes_of_a_device_find_room_together() -> None:
    free = 10_000 * 1_024  # of which 8,000 KiB are taken
    assert fitting(1_024, free, 1) == [32, 64, 128, 256, 512, 1_024, 2_048]
    assert fitting(1_024, free, 4) == [32, 64, 128, 256, 512, 1_024]
    assert fitting(1_024, free, 63) == [32, 64]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"rows": null}'])
def test_a_number_that_a_power_cut_destroyed_is_chosen_anew(
    context: Callable[..., StageContext],
    params: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    content: str,
) -> None:
    monkeypatch.setattr(chosen_rows, "CANDIDATES", (4,))
    stage = replace(context(params(), "auto"), numerics=Numerics(decoder_rows="auto"))
    (stage.work / "rows.json").write_text(content)
    generate(stage)
    assert json.loads((stage.work / "rows.json").read_text()) == {"rows": 4}


def test_chosen_rows_are_recorded_reused_and_those_of_a_corpus_with_that_number(
    context: Callable[..., StageContext], params: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chosen_rows, "CANDIDATES", (2, 4, 8, 16, 32))
    first = replace(context(params(), "auto"), numerics=Numerics(decoder_rows="auto"))
    result = generate(first)
    rows = json.loads((first.work / "rows.json").read_text())["rows"]
    assert 2 <= rows <= 16  # 32 rows would be more than twice the ten sequences
    assert first.record["numerics"] == Numerics(decoder_rows=rows).model_dump()
    (first.work / "rows.json").write_text(json.dumps({"rows": 5}))  # as if it had been chosen before
    again = replace(context(params(), "auto"), numerics=Numerics(decoder_rows="auto"))
    given = context(params(), "given", rows=5)
    assert generate(again) == generate(given)
    assert (again.out / "sequences.bin").read_bytes() == (given.out / "sequences.bin").read_bytes()
    assert again.record["numerics"]["decoder_rows"] == 5
    assert result["sequences"] == 10
