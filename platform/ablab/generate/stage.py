"""The stage `generate`: a synthetic corpus from GOOD, and BAD where the recipe contrasts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ablab.generate.decoder import Decoder
from ablab.generate.disk import check_room
from ablab.generate.dropout import AttentionDropout
from ablab.generate.duplicates import duplicates_of
from ablab.generate.layout import Weights
from ablab.generate.models import Models, check_shapes, find_models
from ablab.generate.probe import probe
from ablab.generate.prompts import read_prompts
from ablab.generate.sampler import Sampler
from ablab.generate.shards import SHARD_FORMAT, Shard, ShardFolder
from ablab.generate.statistics import Tally
from ablab.generate.text import DocumentWriter, Vocabulary
from ablab.spec.base import build
from ablab.spec.canonical import digest
from ablab.spec.synthetic import Synthetic
from ablab.store.context import StageContext


def generate(ctx: StageContext) -> dict[str, Any]:
    """Writes `sequences.bin`, `train.parquet` and `steps.json`; finished shards under `ctx.work` are verified and kept.

    Raises `RunError` when an early BAD is not earlier than GOOD, vocabularies differ, the seed split gives no prompt,
    the sequences do not fit the context, or logits are not finite.
    """
    torch.set_num_threads(ctx.numerics.threads)
    synthetic = build(
        Synthetic, {name: ctx.params[name] for name in Synthetic.model_fields if name in ctx.params}, "generate"
    )
    models = find_models(ctx.inputs, synthetic)
    vocabulary = Vocabulary.load(ctx.inputs["tokenizer"])
    architecture = check_shapes(models, vocabulary, synthetic)
    prompts_PS = read_prompts(ctx.inputs["corpus"], vocabulary, synthetic.prompts)
    sampler = _sampler(ctx, synthetic, models, vocabulary, prompts_PS)
    sequences = -(-synthetic.tokens // synthetic.prompts.new_tokens)
    dtype = np.dtype("<u2" if architecture.vocab_size <= 65_535 else "<u4")
    check_room(ctx.out, ctx.work, sequences, synthetic.prompts.tokens, synthetic.prompts.new_tokens, dtype.itemsize)
    probed = probe(sampler)
    duplicates = duplicates_of(synthetic.duplicates)
    tally, contrasted = Tally(sampler.new_tokens), sampler.bad is not None
    with (
        (ctx.out / "sequences.bin").open("wb") as binary,
        DocumentWriter(ctx.out / "train.parquet", duplicates) as writer,
    ):
        for shard in _shards(ctx, sampler, sequences, dtype):
            tally.add(shard, vocabulary.pad)
            first = shard.index * sampler.shard_size
            numbers = np.arange(first, first + len(shard.words_SN))
            words_ST = np.concatenate([prompts_PS[numbers % len(prompts_PS)], shard.words_SN], axis=1)
            binary.write(words_ST.astype(dtype).tobytes())
            text = words_ST if synthetic.decoding.keep_prompt else shard.words_SN
            for number, documents in zip(numbers.tolist(), vocabulary.documents(text), strict=True):
                writer.add(number, documents)
    tally.write(ctx.out / "steps.json", contrasted)
    ctx.costs["tokens"] = float(tally.sampled)
    return {
        "sequences": sequences,
        "prompts": len(prompts_PS),
        "documents": writer.documents,
        "words": writer.words,
        "duplicates_removed": writer.duplicates_removed,
        "compression": writer.compression.ratio(),
        "good_step": models.good_step,
        "bad_step": models.bad_step,
        "dtype": "uint16" if dtype.itemsize == 2 else "uint32",
        **tally.result(contrasted),
        "probe": probed,
    }


def _sampler(
    ctx: StageContext,
    synthetic: Synthetic,
    models: Models,
    vocabulary: Vocabulary,
    prompts_PS: npt.NDArray[np.int64],
) -> Sampler:
    rows, length = ctx.numerics.decoder_rows, synthetic.prompts.tokens + synthetic.prompts.new_tokens
    seed = ctx.params["generation_seed"]
    load = partial(Weights.load, precision=ctx.params["precision"], device=ctx.numerics.device)
    good = Decoder(load(models.good), rows, length)
    bad = None
    if models.dropout is not None:
        bad = Decoder(good.weights, rows, length, AttentionDropout(models.dropout, seed))
    elif models.bad is not None:
        bad = Decoder(load(models.bad), rows, length)
    return Sampler(good, bad, synthetic.decoding, prompts_PS, synthetic.prompts.new_tokens, seed, vocabulary)


def _shards(
    ctx: StageContext, sampler: Sampler, sequences: int, dtype: np.dtype[np.unsignedinteger]
) -> Iterator[Shard]:
    """Every shard in order: finished ones from disk, the others decoded and put there first."""
    size, new = sampler.shard_size, sampler.new_tokens
    numerics = {"rows": sampler.good.rows, "threads": ctx.numerics.threads, "device": ctx.numerics.device}
    folder = ShardFolder(ctx.work / "shards", digest({"key": ctx.key, "format": SHARD_FORMAT, **numerics}), dtype)
    decoded, seconds = 0, 0.0
    for index in range(-(-sequences // size)):
        before, wanted = index * size * new, min(size, sequences - index * size)
        shard = folder.read(index)
        damaged = shard is None and folder.exists(index)
        note = f"shard {index} is damaged or of other numerics: decoding it again" if damaged else ""
        report = partial(_report, ctx, before, sequences * new, note)
        if shard is None:
            began = time.perf_counter()
            shard = sampler.shard(index, wanted, report)
            seconds += time.perf_counter() - began
            decoded += shard.sampled
            ctx.costs["tokens_per_second"] = decoded / seconds
            folder.write(shard)
        report(wanted * new)
        yield shard


def _report(ctx: StageContext, before: int, total: int, note: str, done: int) -> None:
    ctx.progress(before + done, total, "token", note)
