"""Speed of contrastive generation: ours and two peers on the same weights, prompts and token counts, in one process.

    python -m experiments.benchmarks.generation --json FILE [--setting cpu|gpu] [--threads N] [--repeats N]

Peers: (a) `loop`, a plain two-model loop in the manner of the study's code (transformers' forward, a cache that grows);
(b) `generate`, transformers' own `generate` with a logits processor that contrasts. Everybody takes turns, and medians
are compared, since a shared machine is now and then slower for everybody. A peer's own best batch is looked for with
a few steps at three lengths, and then measured in full.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from ablab.errors import AblabError, InputError
from ablab.generate.decoder import Decoder
from ablab.generate.layout import Weights
from ablab.generate.sampler import Sampler
from ablab.generate.text import SPECIALS, Vocabulary
from ablab.spec.synthetic import Decoding
from experiments.benchmarks.peers import PeerPair
from experiments.benchmarks.roofline import Machine, bound

Peer = Callable[[torch.Tensor, int], torch.Tensor]
"""(prompts, new tokens) -> words."""
CONTRAST = Decoding(
    strength=1.0,
    alpha=0.1,
    temperature=1.0,
    bad_temperature=1.0,
    top_k=None,
    top_p=None,
    stop_at_eos=False,
    keep_prompt=True,
)


@dataclass(frozen=True)
class Setting:
    """GOOD and BAD of one architecture, and how long and how many sequences are."""

    layers: int
    hidden: int
    heads: int
    ffn: int
    vocab_size: int
    prompt: int
    new_tokens: int
    rows: int
    """Sequences at once, in the same setting for all."""
    our_rows: int
    """Sequences at once at our own best."""
    batches: tuple[int, ...]
    """Among which each peer's best is looked for."""
    precision: str
    device: str


SETTINGS = {
    "cpu": Setting(6, 256, 4, 1_024, 4_096, 20, 400, 128, 128, (32, 64, 128), "fp32", "cpu"),
    "gpu": Setting(12, 768, 12, 3_072, 32_000, 20, 400, 512, 1_024, (128, 256, 512, 1_024), "bf16", "cuda"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Speed of contrastive generation, ours beside two peers.")
    parser.add_argument("--json", type=Path, required=True, help="where the figures go")
    parser.add_argument("--setting", choices=sorted(SETTINGS), default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads, for all alike")
    parser.add_argument("--repeats", type=int, default=3, help="turns of ours, and on a GPU of each peer")
    given = parser.parse_args(arguments)
    try:
        figures = measure(SETTINGS[given.setting], given.threads, given.repeats)
    except AblabError as error:
        print(error)
        return error.exit_code
    given.json.write_text(json.dumps({"setting_name": given.setting} | figures, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({name: figures[name] for name in HEADLINES}, indent=2))
    return 0


HEADLINES = ("ours_tokens_per_s", "ratio_same_setting", "ratio_over_best_peer", "roofline_fraction")


def measure(setting: Setting, threads: int, repeats: int) -> dict[str, Any]:
    """All figures of a setting. Raises `InputError` where its device is not there."""
    if setting.device == "cuda" and not torch.cuda.is_available():
        raise InputError("setting gpu needs a CUDA device and this machine has none; use --setting cpu")
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_pair(setting, root)
        turns = Turns(setting, root, repeats)
        return turns.figures() | {"setting": asdict(setting), "threads": threads, "repeats": repeats}


def make_pair(setting: Setting, root: Path) -> None:
    """Checkpoints with drawn weights; heads scaled to logits that spread by 3: plausible heads are some ten words."""
    from transformers import LlamaConfig, LlamaForCausalLM

    for seed, name in enumerate(("good", "bad")):
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=setting.vocab_size,
            hidden_size=setting.hidden,
            intermediate_size=setting.ffn,
            num_hidden_layers=setting.layers,
            num_attention_heads=setting.heads,
            max_position_embeddings=1_024,
            tie_word_embeddings=False,
        )
        model = LlamaForCausalLM(config)
        torch.nn.init.normal_(model.lm_head.weight, std=3.0 / setting.hidden**0.5)
        model.save_pretrained(root / name)


class Turns:
    """Everybody's turns, in order."""

    def __init__(self, setting: Setting, root: Path, repeats: int) -> None:
        self.setting, self.root, self.repeats = setting, root, repeats
        self.cuda = setting.device == "cuda"
        shape = (max(setting.rows, setting.our_rows, *setting.batches), setting.prompt)
        self.prompts_PS = np.random.default_rng(0).integers(4, setting.vocab_size, shape)

    def figures(self) -> dict[str, Any]:
        """Ours first, so that its peak of memory is its own; then a turn of each peer between two of ours."""
        setting = self.setting
        sampler = self.ours(setting.rows)
        ours = [self.turn(sampler, 0)]
        memory = self.peak_memory()
        pair = PeerPair(self.root, setting.precision, setting.device)
        peers = {"loop": pair.loop, "generate": pair.generate}
        same: dict[str, list[float]] = {name: [] for name in peers}
        for _ in range(self.repeats if self.cuda else 1):
            for name, peer in peers.items():
                peer(self.prompts(setting.rows), 2)
                same[name].append(self.full(peer, setting.rows))
                ours.append(self.turn(sampler, len(ours)))
        while len(ours) < self.repeats:
            ours.append(self.turn(sampler, len(ours)))
        grown = self.peak_memory() if self.cuda else memory  # of a process, the peers' peak is in it
        probes = {
            name: {rows: self.probe(pair, peer, rows) for rows in setting.batches} for name, peer in peers.items()
        }
        best = self.best(peers, probes, {name: statistics.median(turns) for name, turns in same.items()})
        ours_best = statistics.median(ours)
        if setting.our_rows != setting.rows:
            ours_best = max(ours_best, self.turn(self.ours(setting.our_rows), 0))
        median = statistics.median(ours)
        machine = Machine.measured(setting.device, setting.precision)
        limit = bound(machine, setting)
        return {
            "ours_tokens_per_s": median,
            "ours_turns": ours,
            "ours_best_tokens_per_s": ours_best,
            "peers": {
                name: {"tokens_per_s": statistics.median(turns), "turns": turns, "probes": probes[name]}
                for name, turns in same.items()
            },
            "best_peer": best,
            "ratio_same_setting": {name: median / statistics.median(turns) for name, turns in same.items()},
            "ratio_over_best_peer": ours_best / best["tokens_per_s"],
            "roofline_fraction": median / limit["tokens_per_s"],
            "roofline": limit | {"machine": asdict(machine)},
            "peak_memory_bytes": max(memory, grown),
        }

    def best(
        self,
        peers: dict[str, Peer],
        probes: dict[str, dict[int, float]],
        same: dict[str, float],
    ) -> dict[str, Any]:
        """The fastest peer at its own best batch: found by the probes, then measured in full; never less than what a
        peer reached in the same setting."""
        name, rows = max(
            ((name, rows) for name in peers for rows in self.setting.batches), key=lambda at: probes[at[0]][at[1]]
        )
        at_same = max(same, key=lambda peer: same[peer])
        found = {"name": at_same, "rows": self.setting.rows, "tokens_per_s": same[at_same]}
        if rows != self.setting.rows:
            speed = self.full(peers[name], rows)
            if speed > same[at_same]:
                found = {"name": name, "rows": rows, "tokens_per_s": speed}
        return found

    def turn(self, sampler: Sampler, index: int) -> float:
        """Tokens per second of a whole shard of ours, prompts included."""
        rows = sampler.good.rows
        return rows * self.setting.new_tokens / self.timed(lambda: sampler.shard(index, rows, _silent))

    def ours(self, rows: int) -> Sampler:
        setting = self.setting
        length = setting.prompt + setting.new_tokens
        good, bad = (
            Decoder(Weights.load(self.root / name, setting.precision, setting.device), rows, length)
            for name in ("good", "bad")
        )
        words = [*SPECIALS, *(str(word) for word in range(len(SPECIALS), setting.vocab_size))]
        tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, "<unk>"))
        return Sampler(good, bad, CONTRAST, self.prompts_PS, setting.new_tokens, 1, Vocabulary(tokenizer))

    def prompts(self, rows: int) -> torch.Tensor:
        return torch.from_numpy(self.prompts_PS[:rows]).to(self.setting.device)

    def full(self, peer: Peer, rows: int) -> float:
        """Tokens per second of a whole batch of a peer, prompts included."""
        return rows * self.setting.new_tokens / self.timed(lambda: peer(self.prompts(rows), self.setting.new_tokens))

    def probe(self, pair: PeerPair, peer: Peer, rows: int) -> float:
        """Tokens per second of a few steps at the shortest, the middle and nearly the greatest length."""
        setting, steps, seconds = self.setting, 5, 0.0
        longest = setting.prompt + setting.new_tokens - steps - 2
        for length in (setting.prompt, (setting.prompt + longest) // 2, longest):
            pair.ticking = True
            peer(torch.randint(4, setting.vocab_size, (rows, length), device=setting.device), steps + 2)
            pair.ticking = False
            seconds += statistics.median(later - tick for tick, later in pairwise(pair.ticks[1:]))
        return 3 * rows / seconds

    def timed(self, action: Callable[[], object]) -> float:
        self.wait()
        began = time.perf_counter()
        action()
        self.wait()
        return time.perf_counter() - began

    def wait(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()

    def peak_memory(self) -> int:
        """Of the GPU, else of the process."""
        if self.cuda:
            return torch.cuda.max_memory_allocated()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _silent(_: int) -> None:
    pass


if __name__ == "__main__":
    raise SystemExit(main())
