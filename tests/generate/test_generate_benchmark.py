"""The benchmark of generation runs, compares like with like, and refuses a GPU that is not there."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from experiments.benchmarks.contestants import make_pair
from experiments.benchmarks.generation import SETTINGS, main, measure
from experiments.benchmarks.generation_joint import JointSetting, measure_joint
from experiments.benchmarks.generation_shards import measure_shards
from experiments.benchmarks.peers import SHORT, GeneratePeer, LoopPeer, PeerPair, contrasted
from experiments.benchmarks.roofline import Machine, bound

SIZES = {"layers": 1, "hidden": 16, "heads": 2, "ffn": 32, "vocab_size": 64, "new_tokens": 64}
SMALL = replace(SETTINGS["cpu"], **SIZES, rows=4, our_rows=8, batches=(2, 4), lengths=2)


@pytest.mark.parametrize("lengths", [0, 2])
def test_the_figures_are_of_ours_and_of_both_peers(lengths: int) -> None:
    figures = measure(replace(SMALL, lengths=lengths), threads=1, repeats=3, clock=time.process_time)
    assert len(figures["ours_turns"]) == 3
    assert set(figures["peers"]) == {"loop", "generate"}
    for peer in figures["peers"].values():
        assert peer["ratio"] == figures["ours_tokens_per_s"] / peer["tokens_per_s"]
        assert set(peer["by_batch"]) == {2, 4}
        assert figures["best_peer"]["tokens_per_s"] >= max(peer["by_batch"].values())
    assert figures["ratio_same_setting"] == figures["peers"]["loop"]["ratio"]
    assert figures["ratio_over_best_peer"] > 0
    assert (figures["whole_runs"] is None) == (lengths == 0)
    assert 0 < figures["roofline_fraction"] < 1
    assert figures["peak_memory_bytes"] > 10**7


@pytest.mark.parametrize("length", [20, SHORT + 20])
def test_both_peers_draw_from_the_plausible_head_of_both_models(length: int, tmp_path: Path) -> None:
    make_pair(SMALL, tmp_path)
    pair = PeerPair(tmp_path, "fp32", "cpu")
    ticks: list[float] = []
    for peer in (LoopPeer(pair, 2), GeneratePeer(pair, 2)):
        prompts = pair.prompts(2, length)
        words = peer.run(prompts, 5, ticks)
        assert words.shape == (2, length + 5)
        assert torch.equal(words[:, :length], prompts)
        caches = pair.caches(2, length)
        read = caches[0].get_seq_length()
        with torch.no_grad():
            good, bad = (
                model(words[:, read:], past_key_values=cache).logits
                for model, cache in zip((pair.good, pair.bad), caches, strict=True)
            )
        for row in range(2):
            for place in range(length, length + 5):
                scores = contrasted(good[row, place - 1 - read][None], bad[row, place - 1 - read][None])[0]
                assert scores[words[row, place]].isfinite()  # nothing outside the plausible head
    assert len(ticks) == 10


def test_the_bound_counts_what_must_be_read() -> None:
    tokens = bound(Machine(bytes_per_s=1e9, operations_per_s=1e30), replace(SMALL, new_tokens=1))
    weights = 4 * (4 * 16**2 + 3 * 16 * 32 + 16 * 64)
    caches = 4 * 4 * 2 * 16 * (20 + 1)
    assert tokens["bytes_per_step"] == 2 * (weights + caches + 8 * 4 * 64)
    assert tokens["tokens_per_s"] == pytest.approx(4 * 1e9 / tokens["bytes_per_step"])


def test_the_cost_of_shards_is_that_of_whole_corpora() -> None:
    figures = measure_shards((1, 3))
    assert [row["tokens"] for row in figures["shards"]] == [1_024, 3_072]
    assert all(row["cpu_us_per_token"] > 0 for row in figures["shards"])


def test_both_ways_of_stepping_two_models_are_timed_at_every_length(capsys: pytest.CaptureFixture[str]) -> None:
    small = JointSetting(1, 16, 2, 32, 64, 4, 40, "fp32", "cpu", (2, 4))
    figures = measure_joint((small,), threads=1, rounds=2, clock=time.perf_counter)
    assert [(line["rows"], line["length"]) for line in figures["joint"]] == [
        (rows, length) for rows in (2, 4) for length in (4, 16, 28)
    ]
    assert all(line["milliseconds"]["turns"] > 0 < line["milliseconds"]["once"] for line in figures["joint"])
    assert capsys.readouterr().out.startswith("16 fp32 x 2 at 4: ")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_the_setting_for_a_gpu_is_refused_without_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", str(tmp_path / "figures.json"), "--setting", "gpu"]) == 2
    assert "setting gpu needs a CUDA device and this machine has none; use --setting cpu" in capsys.readouterr().out
    assert not (tmp_path / "figures.json").exists()
