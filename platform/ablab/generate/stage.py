"""The stage `generate`: a synthetic corpus from GOOD, and BAD where the recipe contrasts."""

from __future__ import annotations

from typing import Any

import numpy as np

from ablab.generate.disk import check_room
from ablab.generate.duplicates import duplicates_of
from ablab.generate.job import Job
from ablab.generate.probe import probe
from ablab.generate.statistics import Tally
from ablab.generate.text import DocumentWriter
from ablab.generate.workers import shards_in_order
from ablab.store.context import StageContext


def generate(ctx: StageContext) -> dict[str, Any]:
    """Writes `sequences.bin`, `train.parquet` and `steps.json`; finished shards under `ctx.work` are verified and kept.

    With `ctx.generation_workers` above 1 so many processes decode the shards; this one puts them together.

    Raises `RunError` when an early BAD is not earlier than GOOD, vocabularies differ, the seed split gives no prompt,
    the sequences do not fit the context, or logits are not finite.
    """
    job = Job.of(ctx)
    synthetic, sampler, prompts_PS, dtype = job.synthetic, job.sampler, job.prompts_PS, job.folder.dtype
    check_room(ctx.out, ctx.work, job.sequences, synthetic.prompts.tokens, sampler.new_tokens, dtype.itemsize)
    probed = probe(sampler)
    tally, contrasted = Tally(sampler.new_tokens), sampler.bad is not None
    with (
        (ctx.out / "sequences.bin").open("wb") as binary,
        DocumentWriter(ctx.out / "train.parquet", duplicates_of(synthetic.duplicates)) as writer,
    ):
        for shard in shards_in_order(ctx, job):
            tally.add(shard, job.vocabulary.pad)
            first = shard.index * sampler.shard_size
            numbers = np.arange(first, first + len(shard.words_SN))
            words_ST = np.concatenate([prompts_PS[numbers % len(prompts_PS)], shard.words_SN], axis=1)
            binary.write(words_ST.astype(dtype).tobytes())
            text = words_ST if synthetic.decoding.keep_prompt else shard.words_SN
            for number, documents in zip(numbers.tolist(), job.vocabulary.documents(text), strict=True):
                writer.add(number, documents)
    tally.write(ctx.out / "steps.json", contrasted)
    ctx.costs["tokens"] = float(tally.sampled)
    return {
        "sequences": job.sequences,
        "prompts": len(prompts_PS),
        "documents": writer.documents,
        "words": writer.words,
        "duplicates_removed": writer.duplicates_removed,
        "compression": writer.compression.ratio(),
        "good_step": job.models.good_step,
        "bad_step": job.models.bad_step,
        "dtype": "uint16" if dtype.itemsize == 2 else "uint32",
        **tally.result(contrasted),
        "probe": probed,
    }
