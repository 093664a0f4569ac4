"""A step of GOOD and BAD of one shape at once, against one after the other: whole steps, the drawing of words included.

Both ways in turn in one process, some steps each at three lengths of the sequences; medians of the steps, and the ratio
of each round's medians (median, smallest and largest). The words are the same both ways: so are all bits.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ablab.generate.decoder import Decoder, SecondDecoder, pair_of
from ablab.generate.decoding import draw
from ablab.generate.layout import Weights
from experiments.benchmarks.contestants import CONTRAST, make_pair
from experiments.benchmarks.peers import Clock, now
from experiments.benchmarks.setting import Architecture

STEPS, WARM = 12, 3  # timed in a row, behind some that fill the processor's caches anew
PARTS = (0.0, 0.5, 1.0)  # of the new words


Step = Callable[[Tensor], Iterable[Tensor]]
"""Logits of GOOD and of BAD behind one more word."""


@dataclass(frozen=True)
class JointSetting(Architecture):
    """Models, and how many sequences they decode at once."""

    prompt: int
    new_tokens: int
    precision: str
    device: str
    rows: tuple[int, ...]


SMOKE = JointSetting(2, 64, 4, 256, 512, 8, 100, "fp32", "cpu", (32, 128, 256))
SMALL = JointSetting(6, 256, 4, 1_024, 4_096, 20, 400, "fp32", "cpu", (32, 128))
SETTINGS = {
    "cpu": (SMOKE, replace(SMOKE, precision="bf16"), SMALL, replace(SMALL, precision="bf16")),
    "gpu": (JointSetting(12, 768, 12, 3_072, 32_000, 20, 400, "bf16", "cuda", (128, 512, 1_024)),),
}


def measure_joint(settings: tuple[JointSetting, ...], threads: int, rounds: int, clock: Clock) -> dict[str, Any]:
    """A line for every setting, number of rows and length; printed as they come."""
    torch.set_num_threads(threads)
    return {"joint": [line for one in settings for line in _lines(one, rounds, clock)], "threads": threads}


def _lines(setting: JointSetting, rounds: int, clock: Clock) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        make_pair(setting, Path(folder))
        good, bad = (Weights.load(Path(folder) / name, setting.precision, setting.device) for name in ("good", "bad"))
    found = []
    for rows in setting.rows:
        ways = Ways(setting, good, bad, rows)
        for part in PARTS:
            length = setting.prompt + int(part * (setting.new_tokens - STEPS - WARM - 1))
            found.append(ways.compared(length, rounds, clock))
            print("{hidden} {precision} x {rows} at {length}: {ratio:.2f} ({ratios})".format(**found[-1]), flush=True)
    return found


class Ways:
    """Both ways to compute the steps of some rows."""

    def __init__(self, setting: JointSetting, good: Weights, bad: Weights, rows: int) -> None:
        length = setting.prompt + setting.new_tokens
        self.setting, self.rows, self.device = setting, rows, torch.device(setting.device)
        first, second = pair_of(good, bad, rows, length)
        assert isinstance(second, SecondDecoder)
        self.pair, self.turns = (first, second), (Decoder(good, rows, length), Decoder(bad, rows, length))
        self.uniforms_B = torch.full((rows,), 0.5, dtype=torch.float64, device=self.device)
        self.ways: dict[str, Step] = {"turns": self._in_turn, "once": second.step_both}

    def _in_turn(self, words_B: Tensor) -> tuple[Tensor, Tensor]:
        return self.turns[0].step(words_B), self.turns[1].step(words_B)

    @torch.inference_mode()
    def compared(self, length: int, rounds: int, clock: Clock) -> dict[str, Any]:
        medians: dict[str, list[float]] = {way: [] for way in self.ways}
        for _ in range(rounds):
            for way, step in self.ways.items():
                medians[way].append(statistics.median(self._seconds(step, length, clock)))
        ratios = [turns / once for turns, once in zip(medians["turns"], medians["once"], strict=True)]
        return {
            "hidden": self.setting.hidden,
            "precision": self.setting.precision,
            "rows": self.rows,
            "length": length,
            "milliseconds": {way: 1e3 * statistics.median(seconds) for way, seconds in medians.items()},
            "ratio": statistics.median(ratios),
            "ratios": f"{min(ratios):.2f} to {max(ratios):.2f}",
        }

    def _seconds(self, step: Step, length: int, clock: Clock) -> list[float]:
        for decoder in (*self.pair, *self.turns):
            decoder.positions = [length] * self.rows
        words_B = torch.arange(self.rows, device=self.device) % self.setting.vocab_size
        seconds = []
        for _ in range(WARM + STEPS):
            began = now(clock, words_B)
            good_BV, bad_BV = step(words_B)
            words_B = draw(good_BV, bad_BV, CONTRAST, self.uniforms_B).words_B
            seconds.append(now(clock, words_B) - began)
        return seconds[WARM:]
