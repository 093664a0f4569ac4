"""Ours, as the generation benchmark sees it, and the models that everybody samples from."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from ablab.generate.decoder import pair_of
from ablab.generate.layout import Weights
from ablab.generate.sampler import Sampler
from ablab.generate.text import SPECIALS, Vocabulary
from ablab.spec.synthetic import Decoding
from experiments.benchmarks.peers import Clock, now, prompts_of
from experiments.benchmarks.setting import Architecture, Setting

DIFFERENT = 4  # prompts of a few steps at some length, which shall not cost more than the steps
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


class Contestant(Protocol):
    """Samples `rows` sequences at once."""

    rows: int

    def ticks(self, length: int, steps: int) -> list[float]:
        """Seconds on a clock at the end of each of so many steps, behind this many words."""
        ...


def make_pair(setting: Architecture, root: Path) -> None:
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


class Ours:
    """The sampler of the stage `generate`, prompts and draws included."""

    def __init__(self, setting: Setting, root: Path, rows: int, clock: Clock) -> None:
        self.setting, self.rows, self.clock = setting, rows, clock
        length = setting.prompt + setting.new_tokens
        good, bad = (Weights.load(root / name, setting.precision, setting.device) for name in ("good", "bad"))
        self.good, self.bad = pair_of(good, bad, rows, length)
        words = [*SPECIALS, *(str(word) for word in range(len(SPECIALS), setting.vocab_size))]
        self.vocabulary = Vocabulary(Tokenizer(WordLevel({word: n for n, word in enumerate(words)}, "<unk>")))

    def ticks(self, length: int, steps: int) -> list[float]:
        different = self.rows if length == self.setting.prompt else DIFFERENT
        prompts_PS = prompts_of(self.setting.vocab_size, different, length).numpy()
        sampler = Sampler(self.good, self.bad, CONTRAST, prompts_PS, steps, 1, self.vocabulary)
        found: list[float] = []
        sampler.shard(0, self.rows, lambda _: found.append(now(self.clock, self.good.weights.embedding_VE)))
        return found
