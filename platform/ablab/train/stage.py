"""`train`: the stage that makes a model and its checkpoints from token streams."""

from __future__ import annotations

import json
import math
import time
from fractions import Fraction
from typing import Any

from ablab.corpora.streams import open_stream
from ablab.errors import InputError
from ablab.models.size import model_size, training_flops
from ablab.store.context import StageContext
from ablab.train.checkpoint import Checkpoints, kept
from ablab.train.config import deepspeed_config
from ablab.train.data import Batches, BlockOrder, Blocks, PoolName
from ablab.train.engine import Engine, numerics
from ablab.train.hosts import train_on_hosts
from ablab.train.launch import train_together
from ablab.train.live import Live, LiveFile, forget_peak_memory, speed
from ablab.train.looks import Looks
from ablab.train.loop import Trainer
from ablab.train.ranks import ALONE, Ranks, check_devices
from ablab.train.resume import ResumeStates, began_with
from ablab.train.settings import TrainSettings, read_settings


def train(ctx: StageContext) -> dict[str, Any]:
    """Train a Llama on `inputs["tokens"]`, mixed with `inputs["synthetic"]` by `params["share"]`.

    With `inputs["until"]` (a select directory) it ends at the step that was selected, on the learning rates of the
    whole schedule. Writes `checkpoints/step-%08d/{config.json,model.safetensors}` (which ones: `train.checkpoint`) and
    `curves.jsonl`; `result["checkpoints"]` lists the kept ones, the curves hold the validation loss of all. Killed at
    any moment and started again with the same `work`, it gives the bytes of an undisturbed run. Fills `costs` with
    `tokens` and `flops` of the whole training; of this attempt with `resumed_from_step`, `tokens_per_second`,
    `model_flops_utilisation` and `memory_bytes`, and where suites are scored at checkpoints (`ctx.looks`) with
    `look_seconds`, which the speed leaves out.

    With `numerics.ranks` above 1 so many processes share the blocks of every step, on the machines of `ctx.hostfile`
    or on this one. Fills `record` with the DeepSpeed configuration, which is in `work/deepspeed.json` while it runs.

    Raises InputError for parameters or streams that cannot be used, RunError when the loss stops being finite.
    """
    settings = read_settings(ctx)
    if ctx.hostfile is not None:
        return train_on_hosts(ctx, ctx.hostfile)
    check_devices(settings.device, settings.ranks)
    if settings.ranks > 1:
        return train_together(ctx, settings.ranks)
    return train_as(ALONE, ctx)


def train_as(ranks: Ranks, ctx: StageContext) -> dict[str, Any]:
    """`train` as one of the ranks; all return the result, the first one writes the files."""
    settings = read_settings(ctx)
    pools, validation = _open_streams(ctx, settings)
    sizes = {name: len(blocks) for name, blocks in pools.items()}
    order = BlockOrder(settings.seed, sizes.get("real", 0), sizes.get("synthetic", 0), settings.share)
    ctx.record["deepspeed"] = deepspeed_config(settings)
    if ranks.first:
        (ctx.work / "deepspeed.json").write_text(json.dumps(ctx.record["deepspeed"], indent=1), encoding="utf-8")
    checkpoints = Checkpoints(ctx.work, kept(settings), ranks)
    trainer = Trainer(
        settings=settings,
        batches=Batches(order, pools, settings.blocks_per_step),
        validation=validation,
        checkpoints=checkpoints,
        states=ResumeStates(ctx.work, began_with(ctx.key, settings), ranks),
        progress=ctx.progress,
        ranks=ranks,
        measured=ctx.measured,
        looks=Looks(ctx.looks, ranks),
        live=LiveFile(ctx.work, settings) if ranks.first else Live(),
    )
    with trainer.live, numerics(settings), Engine(settings, ranks) as engine:
        forget_peak_memory(settings.device)
        began = time.monotonic()
        curves, start = trainer.run(engine)
        _record_costs(ctx, settings, start, time.monotonic() - began - trainer.looks.seconds)
        if ctx.looks:
            ctx.costs["look_seconds"] = trainer.looks.seconds
    if trainer.states.other_ranks:
        ctx.record["other_ranks"] = trainer.states.other_ranks
    if ranks.first:
        (ctx.out / "curves.jsonl").write_text("".join(curves), encoding="utf-8")
        checkpoints.publish(ctx.out)
    return _result(settings, order, checkpoints, curves)


def _open_streams(ctx: StageContext, settings: TrainSettings) -> tuple[dict[PoolName, Blocks], Blocks]:
    """The pools that the share asks for, and the validation stream."""
    context = settings.model.context
    pools: dict[PoolName, Blocks] = {}
    if settings.share < 1.0:
        pools["real"] = Blocks(open_stream(ctx.inputs["tokens"], "train"), context)
    if settings.share > 0.0:
        pools["synthetic"] = Blocks(open_stream(ctx.inputs["synthetic"], "train"), context)
    validation = Blocks(open_stream(ctx.inputs["tokens"], "validation"), context)
    share = Fraction(repr(settings.share))
    shares = {"real": 1 - share, "synthetic": share, "validation": Fraction(0)}
    faults = []
    for name, blocks in (*pools.items(), ("validation", validation)):
        needed = math.ceil(settings.blocks_per_step * shares[name])
        if len(blocks) == 0:
            faults.append(
                f"the {name} tokens are fewer than a block of model.context={context} + 1; "
                "give more text or a shorter context"
            )
        elif len(blocks) < needed:
            faults.append(
                f"the {name} tokens make {len(blocks)} blocks of model.context={context}, fewer than the {needed} that "
                "one step takes of them; give more text or lower schedule.tokens_per_step"
            )
    if faults:
        raise InputError(faults)
    return pools, validation


def _record_costs(ctx: StageContext, settings: TrainSettings, start: int, seconds: float) -> None:
    schedule = settings.schedule
    tokens = settings.stop * schedule.tokens_per_step
    done = (settings.stop - start) * schedule.tokens_per_step
    ctx.costs["tokens"] = float(tokens)
    ctx.costs["flops"] = training_flops(settings.model, settings.vocab_size, tokens)
    ctx.costs["resumed_from_step"] = float(start)
    if done:
        ctx.costs.update(speed(settings, done / seconds))


def _result(settings: TrainSettings, order: BlockOrder, checkpoints: Checkpoints, curves: list[str]) -> dict[str, Any]:
    size = model_size(settings.model, settings.vocab_size)
    blocks = settings.stop * settings.blocks_per_step
    synthetic = order.synthetic_before(blocks)
    return {
        "parameters": size.total,
        "non_embedding_parameters": size.non_embedding,
        "checkpoints": checkpoints.summary(),
        "final_train_loss_nats": json.loads(curves[-1])["train_loss_nats"],
        "real_blocks": blocks - synthetic,
        "synthetic_blocks": synthetic,
        "real_passes": order.passes("real", blocks - synthetic),
        "synthetic_passes": order.passes("synthetic", synthetic),
    }
