"""What every process that decodes one corpus knows: it follows from the stage's context alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt
import torch

from ablab.generate.chosen_rows import Make, rows_of
from ablab.generate.decoder import Decoder, pair_of
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
        length = synthetic.prompts.tokens + synthetic.prompts.new_tokens
        place = device_of(ctx.numerics.device, process)
        make = _decoders(models, length, ctx.params["precision"], place, ctx.params["generation_seed"])
        good, bad = make(_rows(ctx, synthetic, make))
        new, seed = synthetic.prompts.new_tokens, ctx.params["generation_seed"]
        sampler = Sampler(good, bad, synthetic.decoding, prompts_PS, new, seed, vocabulary)
        numerics = {"rows": good.rows, "threads": threads_of(ctx), "device": ctx.numerics.device}
        identity = {"key": ctx.key, "format": SHARD_FORMAT, **numerics}
        folder = ShardFolder(ctx.work / "shards", digest(identity), dtype)
        return cls(synthetic, models, vocabulary, prompts_PS, sampler, folder)

    @property
    def sequences(self) -> int:
        return sequences_of(self.synthetic)

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


def sequences_of(synthetic: Synthetic) -> int:
    """As many whole sequences as hold the declared tokens."""
    return -(-synthetic.tokens // synthetic.prompts.new_tokens)


def threads_of(ctx: StageContext) -> int:
    """CPU threads of each process that decodes."""
    return ctx.numerics.generation_threads or ctx.numerics.threads


def device_of(device: str, process: int) -> str:
    """The device of a process: where any GPU is meant, the processes take them in turn."""
    return f"cuda:{process % torch.cuda.device_count()}" if device == "cuda" and process else device


def processes_of(ctx: StageContext) -> int:
    """How many processes decode on one device."""
    devices = torch.cuda.device_count() if ctx.numerics.device == "cuda" else 1
    return -(-ctx.generation_workers // devices)


def _rows(ctx: StageContext, synthetic: Synthetic, make: Make) -> int:
    """As given; or measured, and recorded as if it had been given."""
    rows = ctx.numerics.decoder_rows
    if rows == "auto":
        rows = rows_of(ctx.work / "rows.json", synthetic, sequences_of(synthetic), make, processes_of(ctx))
        ctx.record["numerics"] = ctx.numerics.model_copy(update={"decoder_rows": rows}).model_dump()
    return rows


def _decoders(models: Models, length: int, precision: str, device: str, seed: int) -> Make:
    """Makes GOOD, and BAD where there is one, for a number of rows; weights are read once."""
    load = partial(Weights.load, precision=precision, device=device)
    good = load(models.good)
    dropout = AttentionDropout(models.dropout, seed) if models.dropout is not None else None
    bad = load(models.bad) if models.bad is not None else good if dropout is not None else None

    def make(rows: int) -> tuple[Decoder, Decoder | None]:
        return pair_of(good, bad, rows, length, dropout)

    return make
