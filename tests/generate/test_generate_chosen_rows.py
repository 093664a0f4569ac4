"""Rows that are left to be chosen: the fastest that fit, chosen once and recorded."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ablab.generate import chosen_rows
from ablab.generate.chosen_rows import choose, fitting, needed_bytes, room_for_each, weight_bytes
from ablab.generate.decoder import Decoder, SecondDecoder, pair_of
from ablab.generate.layout import Weights
from ablab.generate.stage import generate
from ablab.generate.weights import read_architecture
from ablab.spec.placement import Numerics
from ablab.spec.synthetic import Decoding
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
    for processes, most in ((1, 2_048), (4, 1_024), (63, 64)):
        assert fitting(1_024, room_for_each(free, 0, processes))[-1] == most


def test_the_weights_of_the_other_processes_need_room_too() -> None:
    assert room_for_each(1_000, 300, 1) == 1_000, "its own are there already"
    assert room_for_each(1_000, 300, 2) == 350
    assert room_for_each(1_000, 300, 4) == 25
    assert room_for_each(1_000, 300, 5) == 0
    assert fitting(1, 0) == []


def test_weights_are_counted_once_however_many_decoders_share_them(
    tmp_path: Path, checkpoint: Callable[..., None]
) -> None:
    """By hand: 16 hidden, 4 + 2 x 2 heads of 4, feed-forward 32, vocabulary 260; 16 floats behind every row of a
    projection."""
    for name in ("one", "other"):
        checkpoint(tmp_path / name, seed=1)
    one, other = (Weights.load(tmp_path / name, "fp32") for name in ("one", "other"))
    layer = 16 * (32 + 16) + 16 * (16 + 16) + 16 * (64 + 16) + 32 * (16 + 16)
    assert one.nbytes == 4 * (260 * 16 + 2 * layer + 16 * (260 + 16))
    good, bad, dropped = Decoder(one, 2, 8), Decoder(other, 2, 8), Decoder(one, 2, 8)
    assert weight_bytes([good]) == weight_bytes([good, dropped]) == one.nbytes
    assert weight_bytes([good, bad]) == 2 * one.nbytes


def test_speed_is_that_of_the_steps_that_will_be_made(
    tmp_path: Path,
    checkpoint: Callable[..., None],
    params: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for seed, name in enumerate(("good", "bad")):
        checkpoint(tmp_path / name, seed=seed)
    good, bad = pair_of(*(Weights.load(tmp_path / name, "fp32") for name in ("good", "bad")), rows=4, length=8)
    assert isinstance(bad, SecondDecoder)
    monkeypatch.delattr(Decoder, "step")
    for stop_at_eos, places in ((False, [4, 4, 4, 4]), (True, [0, 2, 4, 6])):
        assert chosen_rows.speed(good, bad, 8, Decoding(**params(stop_at_eos=stop_at_eos)["decoding"])) > 0.0
        assert good.positions == bad.positions == [place + 1 for place in places]


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
