"""What a training tells while it goes on: the values of its curves, and speeds beside them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ablab.store.context import LIVE_FILE, StageContext
from ablab.train import live
from ablab.train.live import LiveFile, forget_peak_memory, matrix_flops_per_second, peak_memory_bytes, speed
from ablab.train.settings import read_settings
from ablab.train.stage import train

MakeContext = Callable[..., StageContext]


def rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines() if line]


def test_the_lines_are_the_curves_with_speeds_and_no_part_of_the_stage(
    make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "INTERVAL_S", 0.0)
    ctx = make_context()
    train(ctx)
    told, curves = rows(ctx.work / LIVE_FILE), rows(ctx.out / "curves.jsonl")
    assert [{name: row[name] for name in point} for row, point in zip(told, curves, strict=True)] == curves
    for row in told:
        assert row["tokens_per_second"] > 0 and 0 < row["model_flops_utilisation"] < 1 and row["memory_bytes"] > 1e7
    assert not (ctx.out / LIVE_FILE).exists()
    assert {"tokens_per_second", "model_flops_utilisation", "memory_bytes"} <= set(ctx.costs)


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="this system forgets no peak")
def test_the_peak_of_memory_is_of_what_follows_and_not_of_what_the_process_did_before() -> None:
    held = bytearray(b"x") * 300_000_000
    before = peak_memory_bytes("cpu")
    del held
    forget_peak_memory("cpu")
    assert peak_memory_bytes("cpu") < before - 200_000_000


def test_a_line_that_a_kill_left_half_spoils_no_other(make_context: MakeContext) -> None:
    ctx = make_context()
    (ctx.work / LIVE_FILE).write_text('{"step": 1}\n{"st')
    with LiveFile(ctx.work, read_settings(ctx)) as file:
        file.add({"step": 2})
    lines = (ctx.work / LIVE_FILE).read_text().splitlines()
    assert lines[:2] == ['{"step": 1}', '{"st'] and json.loads(lines[2])["step"] == 2


def test_utilisation_is_the_share_of_the_measured_matrix_rate(make_context: MakeContext) -> None:
    settings = read_settings(make_context())
    told = speed(settings, 1_000.0)
    per_token = 6 * (2 * (4 * 16 * 16 + 3 * 16 * 32 + 2 * 16) + 16 + 32 * 16) + 12 * 2 * 16 * 16
    rate = matrix_flops_per_second("cpu", "fp32", 1)
    assert told["model_flops_utilisation"] == pytest.approx(1_000.0 * per_token / rate)
