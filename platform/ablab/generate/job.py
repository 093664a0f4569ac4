"""What every process that decodes one corpus knows: it follows from the stage's context alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ablab.generate.decoder import Decoder
from ablab.generate.dropout import AttentionDropout
from ablab.generate.layout import Weights
from ablab.generate.models import Models, check_shapes, find_models
from ablab.generate.prompts import read_prompts
from ablab.generate.sampler import Sampler
from ablab.generate.shards import SHARD_FORMAT, Shard, ShardFolder
from ablab.generate.text import Vocabulary
from ablab.spec.base import build
from ablab.spec.canonical import digest
from ablab.spec.synthetic import Synthetic
from ablab.store.context import StageContext


@dataclass(frozen=True)
class Job:
    """One corpus: what is declared, what it is sampled with, and where finished shards lie."""

    synthetic: Synthetic
    models: Models
    vocabulary: Vocabulary
    prompts_PS: npt.NDArray[np.int64]
    sampler: Sampler
    folder: ShardFolder

    @classmethod
    def of(cls, ctx: StageContext, process: int = 0) -> Job:
        """Reads tokenizer, prompts and checkpoints. Of several processes each takes a device of its own, if there are
        as many. Raises `RunError` where these cannot be sampled from."""
        torch.set_num_threads(threads_of(ctx))
        names = (name for name in Synthetic.model_fields if name in ctx.params)
        synthetic = build(Synthetic, {name: ctx.params[name] for name in names}, "generate")
        models = find_models(ctx.inputs, synthetic)
        vocabulary = Vocabulary.load(ctx.inputs["tokenizer"])
        architecture = check_shapes(models, vocabulary, synthetic)
        prompts_PS = read_prompts(ctx.inputs["corpus"], vocabulary, synthetic.prompts)
        dtype = np.dtype("<u2" if architecture.vocab_size <= 65_535 else "<u4")
        rows, device = ctx.numerics.decoder_rows, ctx.numerics.device
        identity = {"key": ctx.key, "format": SHARD_FORMAT, "rows": rows, "threads": threads_of(ctx), "device": device}
        load = partial(Weights.load, precision=ctx.params["precision"], device=device_of(device, process))
        sampler = _sampler(synthetic, models, vocabulary, prompts_PS, rows, load, ctx.params["generation_seed"])
        folder = ShardFolder(ctx.work / "shards", digest(identity), dtype)
        return cls(synthetic, models, vocabulary, prompts_PS, sampler, folder)

    @property
    def sequences(self) -> int:
        return -(-self.synthetic.tokens // self.synthetic.prompts.new_tokens)

    @cached_property
    def shards(self) -> int:
        return -(-self.sequences // self.sampler.shard_size)

    def size(self, index: int) -> int:
        """Sequences of a shard: all but the last one are whole."""
        return min(self.sampler.shard_size, self.sequences - index * self.sampler.shard_size)

    def shard(self, index: int, progress: Callable[[int], None] = lambda _: None) -> Shard | None:
        """The shard, read from disk or decoded now; None while another process decodes it."""
        if (shard := self.folder.read(index)) is not None:
            return shard
        with self.folder.claim(index) as ours:
            if not ours:
                return None
            shard = self.folder.read(index)  # another may have finished it just before
            if shard is None:
                shard = self.sampler.shard(index, self.size(index), progress)
                self.folder.write(shard)
            return shard


def threads_of(ctx: StageContext) -> int:
    """CPU threads of each process that decodes."""
    return ctx.numerics.generation_threads or ctx.numerics.threads


def device_of(device: str, process: int) -> str:
    """The device of a process: where any GPU is meant, the processes take them in turn."""
    return f"cuda:{process % torch.cuda.device_count()}" if device == "cuda" and process else device


def _sampler(
    synthetic: Synthetic,
    models: Models,
    vocabulary: Vocabulary,
    prompts_PS: npt.NDArray[np.int64],
    rows: int,
    load: Callable[[Any], Weights],
    seed: int,
) -> Sampler:
    length = synthetic.prompts.tokens + synthetic.prompts.new_tokens
    good = Decoder(load(models.good), rows, length)
    bad = None
    if models.dropout is not None:
        bad = Decoder(good.weights, rows, length, AttentionDropout(models.dropout, seed))
    elif models.bad is not None:
        bad = Decoder(load(models.bad), rows, length)
    return Sampler(good, bad, synthetic.decoding, prompts_PS, synthetic.prompts.new_tokens, seed, vocabulary)
