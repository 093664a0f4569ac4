"""Speed of contrastive generation: ours and two peers on the same weights, prompts and token counts, in one process.

Peers: (a) `loop`, a plain two-model loop in the manner of the study's code (transformers' forward, a cache that grows);
(b) `generate`, transformers' own `generate` with a logits processor that contrasts. Each at the batch of ours, and at
its own best one.

On a CPU a whole run of everybody takes too long, so a few steps are timed at several lengths, everybody in turn, and
the time of a step is integrated over the lengths (it grows in proportion to them); rounds are repeated and medians
compared, since a shared machine is now and then slower for everybody. Behind it stands one whole run of ours and of
the best peer. On a GPU everything is a whole run. On a machine that others load, one thread and `--clock cpu`
(processor seconds of this process) tell what `wall` on an idle one would.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ablab.errors import AblabError, InputError
from experiments.benchmarks.contestants import Contestant, Ours, make_pair
from experiments.benchmarks.generation_joint import SETTINGS as JOINT_SETTINGS
from experiments.benchmarks.generation_joint import measure_joint
from experiments.benchmarks.generation_shards import measure_shards
from experiments.benchmarks.peers import CLOCKS, Clock, GeneratePeer, LoopPeer, PeerPair
from experiments.benchmarks.roofline import Machine, bound
from experiments.benchmarks.setting import Setting

EXAMPLES = """examples:
  python -m experiments.benchmarks.generation --json cpu.json             about 3 minutes on two idle cores
  python -m experiments.benchmarks.generation --json gpu.json --setting gpu       the 162M pair in bf16
  python -m experiments.benchmarks.generation --json shards.json --shards         memory and cost from 1 to 1,000 shards
  python -m experiments.benchmarks.generation --json joint.json --joint --threads 1     GOOD and BAD at once or in turn
"""
HEADLINES = ("ours_tokens_per_s", "ratio_same_setting", "ratio_over_best_peer", "roofline_fraction")
STEPS = 4  # timed at each length, behind one that is not

SETTINGS = {
    "cpu": Setting(6, 256, 4, 1_024, 4_096, 20, 400, 128, 256, (32, 64, 128), 4, "fp32", "cpu"),
    "gpu": Setting(12, 768, 12, 3_072, 32_000, 20, 400, 512, 1_024, (128, 256, 512, 1_024), 0, "bf16", "cuda"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks.generation",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="where the figures go")
    parser.add_argument("--setting", choices=sorted(SETTINGS), default="cpu", help="default: cpu")
    parser.add_argument("--shards", action="store_true", help="memory and cost per token of 1 to 1,000 shards instead")
    parser.add_argument("--joint", action="store_true", help="steps of both models at once against in turn instead")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads, for all alike")
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall", help="default: wall")
    parser.add_argument("--repeats", type=int, default=3, help="rounds of everybody (default: 3)")
    given = parser.parse_args(arguments)
    try:
        if given.shards:
            figures = measure_shards()
        elif given.joint:
            check_device(SETTINGS[given.setting])
            figures = measure_joint(JOINT_SETTINGS[given.setting], given.threads, given.repeats, CLOCKS[given.clock])
        else:
            found = measure(SETTINGS[given.setting], given.threads, given.repeats, CLOCKS[given.clock])
            figures = {"setting_name": given.setting, "clock": given.clock} | found
    except AblabError as error:
        print(error)
        return error.exit_code
    given.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(figures if given.shards or given.joint else {name: figures[name] for name in HEADLINES}, indent=2))
    return 0


def measure(setting: Setting, threads: int, repeats: int, clock: Clock) -> dict[str, Any]:
    """All figures of a setting. Raises `InputError` where its device is not there."""
    check_device(setting)
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_pair(setting, root)
        figures = Turns(setting, root, repeats, clock).figures()
    return figures | {"setting": asdict(setting), "threads": threads, "repeats": repeats}


def check_device(setting: Setting) -> None:
    """Raises `InputError` where the setting's device is not there."""
    if setting.device == "cuda" and not torch.cuda.is_available():
        raise InputError("setting gpu needs a CUDA device and this machine has none; use --setting cpu")


class Turns:
    """Everybody's turns. A contestant is called (name, sequences at once)."""

    def __init__(self, setting: Setting, root: Path, repeats: int, clock: Clock) -> None:
        self.setting, self.root, self.repeats, self.clock = setting, root, repeats, clock
        self.lengths = np.linspace(
            setting.prompt, setting.prompt + setting.new_tokens - STEPS - 2, setting.lengths, dtype=int
        ).tolist()

    def figures(self) -> dict[str, Any]:
        """Ours first, so that its peak of memory is its own."""
        setting = self.setting
        ours = ("ours", setting.rows)
        contestants: dict[tuple[str, int], Contestant] = {ours: Ours(setting, self.root, setting.rows, self.clock)}
        self.speed(contestants[ours])
        memory = self.peak_memory()
        if setting.our_rows != setting.rows:
            contestants["ours", setting.our_rows] = Ours(setting, self.root, setting.our_rows, self.clock)
        pair = PeerPair(self.root, setting.precision, setting.device, self.clock)
        for rows in sorted({setting.rows, *setting.batches}):
            contestants["loop", rows] = LoopPeer(pair, rows)
            contestants["generate", rows] = GeneratePeer(pair, rows)
        rounds: dict[tuple[str, int], list[float]] = {who: [] for who in contestants}
        for turn in range(self.repeats):
            for who, contestant in contestants.items():
                rounds[who].append(self.speed(contestant))
                print(f"round {turn + 1}: {who[0]} x {who[1]}: {rounds[who][-1]:,.0f} tokens/s", flush=True)
        speeds = {who: statistics.median(turns) for who, turns in rounds.items()}
        peers = {who: speed for who, speed in speeds.items() if who[0] != "ours"}
        best = max(peers, key=lambda who: peers[who])
        ours_best = max(speed for who, speed in speeds.items() if who[0] == "ours")
        machine = Machine.measured(setting.device, setting.precision, self.clock)
        limit = bound(machine, setting)
        return {
            "ours_tokens_per_s": speeds[ours],
            "ours_turns": rounds[ours],
            "ours_best_tokens_per_s": ours_best,
            "peers": {
                name: {
                    "tokens_per_s": speeds[name, setting.rows],
                    "ratio": speeds[ours] / speeds[name, setting.rows],
                    "turns": rounds[name, setting.rows],
                    "by_batch": {rows: speed for (peer, rows), speed in peers.items() if peer == name},
                }
                for name in ("loop", "generate")
            },
            "best_peer": {"name": best[0], "rows": best[1], "tokens_per_s": peers[best]},
            "ratio_same_setting": speeds[ours] / speeds["loop", setting.rows],
            "ratio_over_best_peer": ours_best / peers[best],
            "whole_runs": self.whole_runs(contestants[ours], contestants[best]) if self.lengths else None,
            "roofline_fraction": speeds[ours] / limit["tokens_per_s"],
            "roofline": limit | {"machine": asdict(machine)},
            "peak_memory_bytes": memory,
        }

    def speed(self, contestant: Contestant) -> float:
        """Tokens per second, of steps integrated over the lengths or of a whole run."""
        if not self.lengths:
            return self.whole(contestant)
        seconds = []
        for length in self.lengths:
            ticks = contestant.ticks(length, STEPS + 2)[1:]
            seconds.append(statistics.median(np.diff(ticks).tolist()))
        mean = float(np.trapezoid(seconds, self.lengths)) / (self.lengths[-1] - self.lengths[0])
        return contestant.rows / mean

    def whole_runs(self, ours: Contestant, peer: Contestant) -> dict[str, float]:
        """One whole run of both, prompts included."""
        print("one whole run of ours and of the best peer ...", flush=True)
        speeds = {"ours_tokens_per_s": self.whole(ours), "best_peer_tokens_per_s": self.whole(peer)}
        return speeds | {"ratio": speeds["ours_tokens_per_s"] / speeds["best_peer_tokens_per_s"]}

    def whole(self, contestant: Contestant) -> float:
        began = self.clock()
        ended = contestant.ticks(self.setting.prompt, self.setting.new_tokens)[-1]
        return contestant.rows * self.setting.new_tokens / (ended - began)

    def peak_memory(self) -> int:
        """Of the GPU; else of the process, its libraries included."""
        if self.setting.device == "cuda":
            return torch.cuda.max_memory_allocated()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    raise SystemExit(main())
