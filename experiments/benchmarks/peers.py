"""The peers of the generation benchmark: what one writes with transformers alone."""

from __future__ import annotations

import math
import time
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


def contrasted(good_BV: Tensor, bad_BV: Tensor) -> Tensor:
    """Scores of the study's form: log p_GOOD - log p_BAD inside the plausible head, -inf outside."""
    good_BV, bad_BV = good_BV.float().log_softmax(dim=-1), bad_BV.float().log_softmax(dim=-1)
    implausible_BV = good_BV < good_BV.amax(dim=-1, keepdim=True) + LOG_ALPHA
    return (good_BV - bad_BV).masked_fill(implausible_BV, -math.inf)


def now(tensor: Tensor) -> float:
    """Seconds, when everything that was asked of the tensor's device is done."""
    if tensor.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter()


class Contrast(LogitsProcessor):  # type: ignore[misc]
    """BAD, with its own cache, inside transformers' `generate`."""

    def __init__(self, bad: LlamaForCausalLM, ticks: list[float] | None) -> None:
        self.bad, self.cache, self.ticks = bad, DynamicCache(), ticks

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if self.ticks is not None:
            self.ticks.append(now(scores))
        new = input_ids[:, self.cache.get_seq_length() :]
        logits = self.bad(input_ids=new, past_key_values=self.cache, use_cache=True, logits_to_keep=1).logits[:, -1]
        return contrasted(scores, logits)


class PeerPair:
    """GOOD and BAD as transformers loads them."""

    def __init__(self, root: Path, precision: str, device: str) -> None:
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
        self.good, self.bad = (
            LlamaForCausalLM.from_pretrained(root / name, dtype=dtype).to(device).eval() for name in ("good", "bad")
        )
        self.ticking, self.ticks = False, list[float]()

    @torch.inference_mode()
    def loop(self, prompts_BS: Tensor, new_tokens: int) -> Tensor:
        """A plain loop: both models forward, caches that grow by concatenation, multinomial sampling."""
        caches = DynamicCache(), DynamicCache()
        words_BS, new_BS = prompts_BS, prompts_BS
        self.ticks = []
        for _ in range(new_tokens):
            if self.ticking:
                self.ticks.append(now(new_BS))
            good_BV, bad_BV = (
                model(input_ids=new_BS, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
                for model, cache in zip((self.good, self.bad), caches, strict=True)
            )
            new_BS = torch.multinomial(contrasted(good_BV, bad_BV).softmax(dim=-1), 1)
            words_BS = torch.cat([words_BS, new_BS], dim=1)
        return words_BS

    @torch.inference_mode()
    def generate(self, prompts_BS: Tensor, new_tokens: int) -> Tensor:
        """transformers' `generate` with a contrastive logits processor; runs on through the end of a text."""
        self.ticks = []
        config = GenerationConfig(
            do_sample=True, top_k=0, max_new_tokens=new_tokens, eos_token_id=None, pad_token_id=3, use_cache=True
        )
        words: Tensor = self.good.generate(
            prompts_BS,
            attention_mask=torch.ones_like(prompts_BS),
            generation_config=config,
            logits_processor=LogitsProcessorList([Contrast(self.bad, self.ticks if self.ticking else None)]),
        )
        return words
