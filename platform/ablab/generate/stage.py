"""The stage `generate`: a synthetic corpus from GOOD, and BAD where the recipe contrasts."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ablab.errors import RunError
from ablab.generate.decoder import Decoder
from ablab.generate.prompts import read_prompts
from ablab.generate.sampler import Sampler
from ablab.generate.shards import Shard, ShardFolder
from ablab.generate.text import DocumentWriter, Vocabulary
from ablab.generate.weights import Architecture, read_architecture
from ablab.spec.base import build
from ablab.spec.canonical import digest
from ablab.spec.synthetic import Synthetic
from ablab.store.context import StageContext


@dataclass(frozen=True)
class Models:
    """The checkpoints to sample from; BAD's are None at strength 0, where BAD is never touched."""

    good: Path
    good_step: int
    bad: Path | None
    bad_step: int | None


@dataclass
class Tally:
    """Sums over the shards."""

    sampled: int = 0
    head_sizes: int = 0
    changed: int = 0
    stopped: int = 0

    def add(self, shard: Shard) -> None:
        self.sampled += shard.sampled
        self.head_sizes += shard.head_sizes
        self.changed += shard.changed
        self.stopped += shard.stopped


def generate(ctx: StageContext) -> dict[str, Any]:
    """Writes `sequences.bin` and `train.parquet`; finished shards under `ctx.work` are verified and kept.

    Raises `RunError` when BAD is not earlier than GOOD, vocabularies differ, the seed split gives no prompt, the
    sequences do not fit the context, or logits are not finite.
    """
    torch.set_num_threads(ctx.numerics.threads)
    synthetic = build(Synthetic, {name: ctx.params[name] for name in Synthetic.model_fields}, "generate")
    models = _models(ctx, synthetic)
    vocabulary = Vocabulary.load(ctx.inputs["tokenizer"])
    architecture = _checked_architecture(models, vocabulary, synthetic)
    prompts_PS = read_prompts(ctx.inputs["corpus"], vocabulary, synthetic.prompts)
    sampler = _sampler(ctx, synthetic, models, vocabulary, prompts_PS)
    sequences = -(-synthetic.tokens // synthetic.prompts.new_tokens)
    dtype = np.dtype("<u2" if architecture.vocab_size <= 65_535 else "<u4")
    tally = Tally()
    with (ctx.out / "sequences.bin").open("wb") as binary, DocumentWriter(ctx.out / "train.parquet") as writer:
        for shard in _shards(ctx, sampler, sequences, dtype):
            tally.add(shard)
            first = shard.index * ctx.numerics.decoder_rows
            numbers = np.arange(first, first + len(shard.words_SN))
            words_ST = np.concatenate([prompts_PS[numbers % len(prompts_PS)], shard.words_SN], axis=1)
            binary.write(words_ST.astype(dtype).tobytes())
            text = words_ST if synthetic.decoding.keep_prompt else shard.words_SN
            for number, documents in zip(numbers.tolist(), vocabulary.documents(text), strict=True):
                writer.add(number, documents)
    ctx.costs["tokens"] = float(tally.sampled)
    return {
        "sequences": sequences,
        "prompts": len(prompts_PS),
        "tokens": tally.sampled,
        "documents": writer.documents,
        "words": writer.words,
        "good_step": models.good_step,
        "bad_step": models.bad_step,
        "head_size_mean": tally.head_sizes / tally.sampled,
        "argmax_changed": None if models.bad is None else tally.changed / tally.sampled,
        "stopped": tally.stopped,
        "dtype": "uint16" if dtype.itemsize == 2 else "uint32",
    }


def _models(ctx: StageContext, synthetic: Synthetic) -> Models:
    """GOOD at its selected step, and BAD, which must be earlier (GOOD may be chosen at run time only)."""
    good_step = int(json.loads((ctx.inputs["select"] / "result.json").read_text(encoding="utf-8"))["step"])
    checkpoints = ctx.inputs["good"] / "checkpoints"
    good = _checkpoint(checkpoints, "GOOD", good_step)
    if synthetic.decoding.strength == 0.0:
        return Models(good, good_step, None, None)
    if synthetic.bad is None:
        raise RunError(f"decoding.strength={synthetic.decoding.strength} needs a BAD model", "declare synthetic.bad")
    bad_step = synthetic.bad.step
    if bad_step >= good_step:
        raise RunError(
            f"BAD's step {bad_step} must be earlier than GOOD's selected step {good_step}",
            "declare an earlier BAD step (synthetic.bad.step), or another good.selection",
        )
    return Models(good, good_step, _checkpoint(checkpoints, "BAD", bad_step), bad_step)


def _checkpoint(checkpoints: Path, role: str, step: int) -> Path:
    folder = checkpoints / f"step-{step:08d}"
    if not folder.is_dir():
        known = ", ".join(str(int(path.name.removeprefix("step-"))) for path in sorted(checkpoints.glob("step-*")))
        raise RunError(f"{role}'s step {step} has no checkpoint; there are {known or 'none'}", "declare one of these")
    return folder


def _checked_architecture(models: Models, vocabulary: Vocabulary, synthetic: Synthetic) -> Architecture:
    """GOOD's shape. All faults of the combination are raised together, before any weight is read."""
    shapes = {"GOOD": read_architecture(models.good)}
    if models.bad is not None:
        shapes["BAD"] = read_architecture(models.bad)
    good_size = shapes["GOOD"].vocab_size
    length = synthetic.prompts.tokens + synthetic.prompts.new_tokens
    faults = []
    for role, shape in shapes.items():
        if shape.vocab_size != good_size:
            faults.append(f"{role}'s vocabulary has {shape.vocab_size} entries, GOOD's {good_size}; they must be one")
        if shape.vocab_size < vocabulary.size:
            faults.append(f"{role}'s vocabulary has {shape.vocab_size} entries, the tokenizer {vocabulary.size}")
        if shape.context < length:
            faults.append(
                f"{role}'s context of {shape.context} tokens is shorter than prompts.tokens={synthetic.prompts.tokens} "
                f"+ new_tokens={synthetic.prompts.new_tokens}; lower new_tokens"
            )
    if faults:
        raise RunError("\n".join(faults), "use models trained with this tokenizer and a sufficient model.context")
    return shapes["GOOD"]


def _sampler(
    ctx: StageContext,
    synthetic: Synthetic,
    models: Models,
    vocabulary: Vocabulary,
    prompts_PS: npt.NDArray[np.int64],
) -> Sampler:
    length = synthetic.prompts.tokens + synthetic.prompts.new_tokens
    load = partial(
        Decoder.load,
        precision=ctx.params["precision"],
        rows=ctx.numerics.decoder_rows,
        length=length,
        device=ctx.numerics.device,
    )
    return Sampler(
        good=load(models.good),
        bad=None if models.bad is None else load(models.bad),
        decoding=synthetic.decoding,
        prompts_PS=prompts_PS,
        new_tokens=synthetic.prompts.new_tokens,
        seed=ctx.params["generation_seed"],
        vocabulary=vocabulary,
    )


def _shards(
    ctx: StageContext, sampler: Sampler, sequences: int, dtype: np.dtype[np.unsignedinteger]
) -> Iterator[Shard]:
    """Every shard in order: finished ones from disk, the others decoded and put there first."""
    rows, new = ctx.numerics.decoder_rows, sampler.new_tokens
    numerics = {"rows": rows, "threads": ctx.numerics.threads, "device": ctx.numerics.device}
    folder = ShardFolder(ctx.work / "shards", digest({"key": ctx.key, **numerics}), dtype)
    decoded, seconds = 0, 0.0
    for index in range(-(-sequences // rows)):
        before, wanted = index * rows * new, min(rows, sequences - index * rows)
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
