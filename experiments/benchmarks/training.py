"""Speed of training: ours, transformers' Trainer and a plain compiled PyTorch loop, on one model, data and precision.

    python -m experiments.benchmarks.training --json FILE [--setting cpu|gpu] [--threads N] [--steps N] [--rounds N]
        [--clock wall|cpu]

All take turns in one process, and medians over the rounds are compared, since a shared machine is now and then slower
for everybody. First steps (compiling, first allocations) are told apart as `first_steps_s`. `ours` is the training loop
(data order, packing, curves, checks, deterministic algorithms on a CPU) around our engine with compiled layers and
loss, `uncompiled` the same without compiling; `overhead_of_our_loop` is the time of that loop outside of the steps,
relative to them. On a machine that others load, one thread and `--clock cpu` (processor seconds of this process) tell
what `wall` on an idle one would.

Operations per token are 6 N + 12 L H T (`ablab.models.size.training_flops`); utilisation is their rate over that of a
large matrix product in the same precision with the same threads, measured on the spot.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from ablab.models.llama import initialise, llama_config
from ablab.models.size import model_size, training_flops
from ablab.spec.placement import Numerics
from ablab.spec.recipe import Model
from ablab.store.context import StageContext, silent
from ablab.train.checkpoint import Checkpoints, kept
from ablab.train.data import Batches, BlockOrder, Blocks
from ablab.train.engine import Engine, StepReport, numerics
from ablab.train.live import LiveFile, matrix_flops_per_second
from ablab.train.loop import Trainer
from ablab.train.optimizer import adamw
from ablab.train.resume import ResumeStates
from ablab.train.settings import TrainSettings, read_settings

NEVER = 10**6  # steps: no schedule ends and no checkpoint is due while we measure
Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}
Run = Callable[[int], float]
"""Trains so many steps; the seconds they took."""


@dataclass(frozen=True)
class Setting:
    """A model, and the blocks of a step, which are one micro-batch."""

    model: Model
    vocab_size: int
    blocks: int
    device: str


SETTINGS = {
    "cpu": Setting(Model(layers=6, hidden=256, heads=4, ffn=1_024, context=256), 8_192, 16, "cpu"),
    "gpu": Setting(Model(layers=12, hidden=768, heads=12, ffn=3_072, context=1_024), 32_000, 32, "cuda"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Speed of training, ours beside two others.")
    parser.add_argument("--json", type=Path, required=True, help="where the figures go")
    parser.add_argument("--setting", choices=sorted(SETTINGS), default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, default=3, help="of each contestant in each round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall")
    chosen = parser.parse_args(arguments)
    logging.disable(logging.WARNING)
    torch.set_num_threads(chosen.threads)
    clock = CLOCKS[chosen.clock]
    figures = measure(SETTINGS[chosen.setting], chosen.threads, chosen.steps, chosen.rounds, clock)
    figures["clock"] = chosen.clock
    chosen.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({name: value for name, value in figures.items() if name != "rounds"}, indent=1))
    return 0


def measure(setting: Setting, threads: int, steps: int, rounds: int, clock: Clock) -> dict[str, Any]:
    """Tokens per second of everybody, and the ratios that the goals are about."""
    settings = train_settings(setting, threads)
    stream = np.random.default_rng(1).integers(4, setting.vocab_size, 2_000_000).astype(np.uint16)
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder, contestants(settings, stream, Path(folder), clock) as runs:
        first = {name: first_steps(name, run, clock) for name, run in runs.items()}
        for turn in range(rounds):
            print(f"round {turn + 1} of {rounds}", file=sys.stderr, flush=True)
            order = list(runs) if turn % 2 == 0 else list(reversed(runs))
            for name in order:
                times.setdefault(name, []).append(runs[name](steps) / steps)
    tokens = settings.schedule.tokens_per_step
    speed = {name: tokens / statistics.median(of) for name, of in times.items()}
    matrix = matrix_flops_per_second(settings.device, settings.precision, threads)
    flops = training_flops(setting.model, setting.vocab_size, 1)
    ours = runs["ours"]
    assert isinstance(ours, OurLoop)
    return {
        "parameters": model_size(setting.model, setting.vocab_size).total,
        "flops_per_token": flops,
        "threads": threads,
        "matrix_flops_per_s": matrix,
        "first_steps_s": first,
        "tokens_per_s": speed,
        "utilisation": {name: rate * flops / matrix for name, rate in speed.items()},
        "ratio_over_trainer": ratio(times, "trainer"),
        "ratio_over_plain_loop": ratio(times, "plain_loop"),
        "ratio_over_uncompiled": ratio(times, "uncompiled"),
        "overhead_of_our_loop": ours.overhead(),
        "rounds": {name: [tokens / one for one in of] for name, of in times.items()},
    }


def first_steps(name: str, run: Run, clock: Clock) -> float:
    """Seconds of two steps: compiling, first allocations."""
    print(f"{name}: first steps", file=sys.stderr, flush=True)
    began = clock()
    run(2)
    return clock() - began


def ratio(times: dict[str, list[float]], other: str) -> float:
    """How much faster ours is: the median of the ratios within rounds, in which the machine is the same."""
    return statistics.median(theirs / mine for theirs, mine in zip(times[other], times["ours"], strict=True))


def train_settings(setting: Setting, threads: int) -> TrainSettings:
    """Those of a stage that never ends."""
    params = {
        "model": dict(setting.model),
        "vocab_size": setting.vocab_size,
        "schedule": {
            "steps": NEVER,
            "tokens_per_step": setting.blocks * setting.model.context,
            "learning_rate": 1e-3,
            "warmup_steps": 100,
            "weight_decay": 0.1,
            "checkpoint_every": NEVER,
            "validation_tokens": setting.model.context,
        },
        "precision": "bf16",
        "train_seed": 1,
        "share": 0.0,
    }
    chosen = Numerics(threads=threads, device=setting.device, micro_batch=setting.blocks, compile="always")
    nowhere = Path("/nonexistent")
    return read_settings(StageContext("", params, {}, {}, nowhere, nowhere, chosen, silent, {}))


@contextlib.contextmanager
def contestants(settings: TrainSettings, stream: Any, folder: Path, clock: Clock) -> Iterator[dict[str, Run]]:
    """Everybody, ready to train, each with a model of its own."""
    blocks = Blocks(stream, settings.model.context)
    batches = Batches(BlockOrder(settings.seed, len(blocks), 0, 0.0), {"real": blocks}, settings.blocks_per_step)
    ready = [batches.step(step) for step in range(8)]
    plain = replace(settings, compiled=False)
    with numerics(settings), Engine(settings) as engine, Engine(plain) as uncompiled:
        strict = torch.are_deterministic_algorithms_enabled()  # as stages really run: on a CPU
        torch.use_deterministic_algorithms(False)  # as others do; `OurLoop` sets it around ours
        yield {
            "ours": OurLoop(engine, settings, batches, blocks, folder, clock, strict),
            "uncompiled": OurLoop(uncompiled, plain, batches, blocks, folder, clock, strict),
            "plain_loop": plain_loop(settings, ready, clock),
            "trainer": trainer(settings, ready, folder, clock),
        }


def timed(clock: Clock, settings: TrainSettings, work: Callable[[], object]) -> float:
    began = clock()
    work()
    if settings.device != "cpu":
        torch.cuda.synchronize()
    return clock() - began


class OurLoop:
    """The loop of a training stage, without a checkpoint, and a watch on the engine's steps in it.

    `strict`: with torch's deterministic algorithms, as a stage on a CPU.
    """

    def __init__(
        self,
        engine: Engine,
        settings: TrainSettings,
        batches: Batches,
        held_out: Blocks,
        folder: Path,
        clock: Clock,
        strict: bool,
    ) -> None:
        self._engine, self._settings, self._batches, self._held_out = engine, settings, batches, held_out
        self._folder, self._clock, self._strict = folder, clock, strict
        self._ratios: list[float] = []

    def __call__(self, steps: int) -> float:
        fresh = Trainer(
            settings=replace(self._settings, stop=steps),
            batches=self._batches,
            validation=self._held_out,
            checkpoints=Checkpoints(self._folder, kept(self._settings)),
            states=ResumeStates(self._folder, {}),
            progress=silent,
            ranks=self._engine.ranks,
            live=LiveFile(self._folder, self._settings),
        )
        watched = Watched(self._engine, self._clock, self._settings)
        torch.use_deterministic_algorithms(self._strict)
        with fresh.live:
            seconds = timed(self._clock, self._settings, lambda: fresh.run(watched))  # type: ignore[arg-type]
        torch.use_deterministic_algorithms(False)
        self._ratios.append(seconds / watched.seconds - 1)
        return seconds

    def overhead(self) -> float:
        """Median over the runs; the first one compiled."""
        return statistics.median(self._ratios[1:])


class Watched:
    """An engine whose steps are timed."""

    def __init__(self, engine: Engine, clock: Clock, settings: TrainSettings) -> None:
        self._engine, self._clock, self._settings = engine, clock, settings
        self.seconds = 0.0

    def step(self, blocks: Any) -> StepReport:
        began = self._clock()
        report = self._engine.step(blocks)
        self.seconds += self._clock() - began
        return report


def plain_loop(settings: TrainSettings, ready: list[Any], clock: Clock) -> Run:
    """What one writes by hand: a compiled model under autocast, fused AdamW, gradient norm read every step."""
    model = initialise(llama_config(settings.model, settings.vocab_size), settings.seed).to(settings.device)
    optimizer = adamw(model.named_parameters(), settings.schedule)

    @torch.compile
    def loss_of(blocks: torch.Tensor) -> torch.Tensor:
        with torch.autocast(torch.device(settings.device).type, torch.bfloat16):
            logits = model(input_ids=blocks[:, :-1], use_cache=False).logits
        return cross_entropy(logits.float().flatten(0, 1), blocks[:, 1:].flatten())

    def train(steps: int) -> None:
        for number in range(steps):
            loss = loss_of(torch.from_numpy(ready[number % 8]).to(settings.device))
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None]).item()
            optimizer.step()
            optimizer.zero_grad()
            loss.item()

    return lambda steps: timed(clock, settings, lambda: train(steps))


def trainer(settings: TrainSettings, ready: list[Any], folder: Path, clock: Clock) -> Run:
    """transformers' Trainer in bf16 with torch's fused AdamW; its first step of a call is not counted."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    model = initialise(llama_config(settings.model, settings.vocab_size), settings.seed)
    rows = [torch.from_numpy(row[:-1]) for batch in ready for row in batch]
    data = [{"input_ids": row, "labels": row} for row in rows] * 64

    class FirstStep(transformers.TrainerCallback):  # type: ignore[misc]
        began = 0.0

        def on_step_end(self, arguments: Any, state: Any, control: Any, **rest: Any) -> None:  # noqa: ARG002
            if state.global_step == 1:
                if settings.device != "cpu":
                    torch.cuda.synchronize()  # else the first step's work would count
                self.began = clock()

    def run(steps: int) -> float:
        os.environ.pop("LOCAL_RANK", None)  # which our engine set: the Trainer would take itself for one of many
        first = FirstStep()
        made = transformers.Trainer(
            model=model,
            args=transformers.TrainingArguments(
                output_dir=str(folder / "trainer"),
                per_device_train_batch_size=settings.blocks_per_step,
                max_steps=steps + 1,
                bf16=True,
                use_cpu=settings.device == "cpu",
                optim="adamw_torch_fused",
                learning_rate=settings.schedule.learning_rate,
                weight_decay=settings.schedule.weight_decay,
                max_grad_norm=0.0,
                logging_steps=NEVER,
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
            ),
            train_dataset=data,
            callbacks=[first],
        )
        with contextlib.redirect_stdout(sys.stderr):
            made.train()
        return clock() - first.began

    return run


if __name__ == "__main__":
    sys.exit(main())
