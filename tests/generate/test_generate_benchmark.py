"""The benchmark of generation runs, compares like with like, and refuses a GPU that is not there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from experiments.benchmarks.generation import SETTINGS, main, make_pair, measure
from experiments.benchmarks.peers import PeerPair, contrasted
from experiments.benchmarks.roofline import Machine, bound

SIZES = {"layers": 1, "hidden": 16, "heads": 2, "ffn": 32, "vocab_size": 64, "new_tokens": 16}
SMALL = replace(SETTINGS["cpu"], **SIZES, rows=4, our_rows=8, batches=(2, 4))


def test_the_figures_are_of_ours_and_of_both_peers() -> None:
    figures = measure(SMALL, threads=1, repeats=3)
    assert len(figures["ours_turns"]) == 3
    assert set(figures["peers"]) == {"loop", "generate"}
    assert figures["best_peer"]["tokens_per_s"] >= max(peer["tokens_per_s"] for peer in figures["peers"].values())
    for name, ratio in figures["ratio_same_setting"].items():
        assert ratio == figures["ours_tokens_per_s"] / figures["peers"][name]["tokens_per_s"]
        assert set(figures["peers"][name]["probes"]) == {2, 4}
    assert 0 < figures["roofline_fraction"] < 1
    assert figures["peak_memory_bytes"] > 10**7


def test_both_peers_draw_from_the_same_distribution_as_each_other(tmp_path: Path) -> None:
    make_pair(SMALL, tmp_path)
    pair, prompts = PeerPair(tmp_path, "fp32", "cpu"), torch.arange(40).view(2, 20) + 4
    for peer in (pair.loop, pair.generate):
        words = peer(prompts, 5)
        assert words.shape == (2, 25)
        with torch.no_grad():
            good, bad = (model(words).logits for model in (pair.good, pair.bad))
        for row in range(2):
            for place in range(20, 25):
                scores = contrasted(good[row, place - 1][None], bad[row, place - 1][None])[0]
                assert scores[words[row, place]].isfinite()  # nothing outside the plausible head


def test_the_bound_counts_what_must_be_read() -> None:
    tokens = bound(Machine(bytes_per_s=1e9, operations_per_s=1e30), replace(SMALL, new_tokens=1))
    weights = 4 * (4 * 16**2 + 3 * 16 * 32 + 16 * 64)
    caches = 4 * 4 * 2 * 16 * (20 + 1)
    assert tokens["bytes_per_step"] == 2 * (weights + caches + 8 * 4 * 64)
    assert tokens["tokens_per_s"] == pytest.approx(4 * 1e9 / tokens["bytes_per_step"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_the_setting_for_a_gpu_is_refused_without_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", str(tmp_path / "figures.json"), "--setting", "gpu"]) == 2
    assert "setting gpu needs a CUDA device and this machine has none; use --setting cpu" in capsys.readouterr().out
    assert not (tmp_path / "figures.json").exists()
