"""The peers of the generation benchmark: what one writes with transformers alone."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from transformers import (
    DynamicCache,
    GenerationConfig,
    LlamaForCausalLM,
    LogitsProcessor,
    LogitsProcessorList,
)

LOG_ALPHA = math.log(0.1)
SHORT = 64  # words of a prompt that is read; longer ones are put into the caches as they are


def contrasted(good_BV: Tensor, bad_BV: Tensor) -> Tensor:
    """Scores of the study's form: log p_GOOD - log p_BAD inside the plausible head, -inf outside."""
    good_BV, bad_BV = good_BV.float().log_softmax(dim=-1), bad_BV.float().log_softmax(dim=-1)
    implausible_BV = good_BV < good_BV.amax(dim=-1, keepdim=True) + LOG_ALPHA
    return (good_BV - bad_BV).masked_fill(implausible_BV, -math.inf)


Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}


def now(clock: Clock, tensor: Tensor) -> float:
    """Seconds, when everything that was asked of the tensor's device is done."""
    if tensor.is_cuda:
        torch.cuda.synchronize()
    return clock()


def prompts_of(vocabulary: int, rows: int, length: int) -> Tensor:
    """What everybody continues."""
    return torch.randint(4, vocabulary, (rows, length), generator=torch.Generator().manual_seed(0))


class PeerPair:
    """GOOD and BAD as transformers loads them."""

    def __init__(self, root: Path, precision: str, device: str, clock: Clock = time.perf_counter) -> None:
        self.clock = clock
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
        self.good, self.bad = (
            LlamaForCausalLM.from_pretrained(root / name, dtype=dtype).to(device).eval() for name in ("good", "bad")
        )

    def prompts(self, rows: int, length: int) -> Tensor:
        return prompts_of(self.good.config.vocab_size, rows, length).to(self.good.device)

    def caches(self, rows: int, length: int) -> tuple[DynamicCache, DynamicCache]:
        """Empty ones before a short prompt; before a long one as if all its words but the last had been read."""
        caches = DynamicCache(), DynamicCache()
        if length > SHORT:
            config, weight = self.good.config, self.good.lm_head.weight
            size = (rows, config.num_key_value_heads, length - 1, config.hidden_size // config.num_attention_heads)
            for cache in caches:
                for layer in range(config.num_hidden_layers):
                    keys, values = (torch.full(size, 0.1, dtype=weight.dtype, device=weight.device) for _ in range(2))
                    cache.update(keys, values, layer)
        return caches


class LoopPeer:
    """A plain loop: both models forward, caches that grow by concatenation, multinomial sampling."""

    def __init__(self, pair: PeerPair, rows: int) -> None:
        self.pair, self.rows = pair, rows

    def ticks(self, length: int, steps: int) -> list[float]:
        found: list[float] = []
        self.run(self.pair.prompts(self.rows, length), steps, found)
        return found

    @torch.inference_mode()
    def run(self, prompts_BS: Tensor, new_tokens: int, ticks: list[float]) -> Tensor:
        """Prompts and the words behind them."""
        caches = self.pair.caches(*prompts_BS.shape)
        words_BS, new_BS = prompts_BS, prompts_BS[:, caches[0].get_seq_length() :]
        for _ in range(new_tokens):
            good_BV, bad_BV = (
                model(input_ids=new_BS, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
                for model, cache in zip((self.pair.good, self.pair.bad), caches, strict=True)
            )
            new_BS = torch.multinomial(contrasted(good_BV, bad_BV).softmax(dim=-1), 1)
            words_BS = torch.cat([words_BS, new_BS], dim=1)
            ticks.append(now(self.pair.clock, words_BS))
        return words_BS


class GeneratePeer(LoopPeer):
    """transformers' `generate` with a contrastive logits processor; runs on through the end of a text."""

    @torch.inference_mode()
    def run(self, prompts_BS: Tensor, new_tokens: int, ticks: list[float]) -> Tensor:
        good_cache, bad_cache = self.pair.caches(*prompts_BS.shape)
        config = GenerationConfig(
            do_sample=True, top_k=0, max_new_tokens=new_tokens, eos_token_id=None, pad_token_id=3, use_cache=True
        )
        words: Tensor = self.pair.good.generate(
            prompts_BS,
            attention_mask=torch.ones_like(prompts_BS),
            generation_config=config,
            past_key_values=good_cache,
            logits_processor=LogitsProcessorList([Contrast(self.pair, bad_cache, ticks)]),
        )
        return words


class Contrast(LogitsProcessor):  # type: ignore[misc]
    """BAD, with its own cache, inside transformers' `generate`."""

    def __init__(self, pair: PeerPair, cache: DynamicCache, ticks: list[float]) -> None:
        self.bad, self.clock, self.cache, self.ticks = pair.bad, pair.clock, cache, ticks

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        new = input_ids[:, self.cache.get_seq_length() :]
        logits = self.bad(input_ids=new, past_key_values=self.cache, use_cache=True, logits_to_keep=1).logits[:, -1]
        self.ticks.append(now(self.clock, logits))
        return contrasted(scores, logits)
