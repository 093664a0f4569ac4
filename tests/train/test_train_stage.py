"""Laws of the training stage, on a two-layer model."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from ablab.corpora.streams import open_stream
from ablab.errors import InputError, RunError
from ablab.models.llama import initialise, llama_config, load_checkpoint
from ablab.models.size import training_flops
from ablab.spec.placement import Numerics
from ablab.store.context import StageContext
from ablab.train.data import Batches, BlockOrder, Blocks
from ablab.train.optimizer import learning_rate_factor, parameter_groups
from ablab.train.settings import read_settings
from ablab.train.stage import train

MakeContext = Callable[..., StageContext]
DigestFiles = Callable[[Path], dict[str, str]]


PINNED_LOSSES = [3.4719, 3.4389, 3.3268, 3.2619, 3.1632, 3.0743, 3.0557, 3.0406, 2.9102, 2.9354, 2.8984, 2.8272]
PINNED_VALIDATION = {3: 3.2511, 6: 3.0728, 9: 2.9633, 12: 2.937}


def curves(ctx: StageContext) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (ctx.out / "curves.jsonl").read_text().splitlines()]


def losses(ctx: StageContext) -> list[float]:
    return [point["train_loss_nats"] for point in curves(ctx)]


def checkpoint_steps(ctx: StageContext) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in (ctx.out / "checkpoints").iterdir())


def reference(ctx: StageContext) -> tuple[list[float], torch.nn.Module]:
    """The same training in plain torch: whole steps at once, unfused AdamW, no DeepSpeed."""
    settings = read_settings(ctx)
    blocks = Blocks(open_stream(ctx.inputs["tokens"], "train"), settings.model.context)
    batches = Batches(BlockOrder(settings.seed, len(blocks), 0, 0.0), {"real": blocks}, settings.blocks_per_step)
    model = initialise(llama_config(settings.model, settings.vocab_size), settings.seed)
    schedule = settings.schedule
    optimizer = torch.optim.AdamW(
        parameter_groups(model.named_parameters(), schedule), betas=(schedule.beta1, schedule.beta2), foreach=False
    )
    found = []
    for step in range(schedule.steps):
        for group in optimizer.param_groups:
            group["lr"] = schedule.learning_rate * learning_rate_factor(schedule)(step)
        rows = torch.from_numpy(batches.step(step))
        loss = cross_entropy(model(rows[:, :-1]).logits.flatten(0, 1), rows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if schedule.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), schedule.clip_norm)
        optimizer.step()
        found.append(loss.item())
    return found, model


OTHER_SCHEDULE = {"clip_norm": 0.5, "decay_norms": True, "beta2": 0.95}


@pytest.mark.parametrize(("zero_stage", "schedule"), [(0, {}), (0, OTHER_SCHEDULE), (1, OTHER_SCHEDULE), (2, {})])
def test_training_equals_plain_torch(make_context: MakeContext, schedule: dict[str, Any], zero_stage: int) -> None:
    ctx = make_context(schedule=schedule, numerics=Numerics(micro_batch=2, zero_stage=zero_stage))
    train(ctx)
    expected, model = reference(ctx)
    assert losses(ctx) == pytest.approx(expected, abs=1e-4)
    trained = load_checkpoint(ctx.out / "checkpoints" / "step-00000012").state_dict()
    for name, weight in model.state_dict().items():
        assert torch.allclose(trained[name], weight, atol=1e-3), name


def test_trainings_of_one_process_do_not_touch_each_other(
    trained: tuple[StageContext, dict[str, Any]], make_context: MakeContext, digest_files: DigestFiles
) -> None:
    first, result = trained
    other, again = make_context(train_seed=8, precision="bf16"), make_context()
    train(other)
    assert train(again) == result
    assert digest_files(again.out) == digest_files(first.out)
    assert losses(first) != losses(other)


def test_micro_batches_agree_within_rounding(make_context: MakeContext) -> None:
    one, other = (make_context(numerics=Numerics(micro_batch=size)) for size in (1, 4))
    train(one)
    train(other)
    assert losses(one) == pytest.approx(losses(other), abs=1e-4)


@pytest.mark.parametrize(("wish", "micro_batch"), [(1, 1), (3, 2), (4, 4), (32, 4)])
def test_micro_batch_is_lowered_to_a_divisor_of_the_blocks_of_a_step(
    make_context: MakeContext, wish: int, micro_batch: int
) -> None:
    settings = read_settings(make_context(numerics=Numerics(micro_batch=wish)))
    assert (settings.micro_batch, settings.micro_batch * settings.accumulation) == (micro_batch, 4)


def test_bf16_stays_near_fp32_and_saves_fp32_master_weights(
    trained: tuple[StageContext, dict[str, Any]], make_context: MakeContext
) -> None:
    whole, half = trained[0], make_context(precision="bf16")
    train(half)
    assert losses(half) == pytest.approx(losses(whole), abs=0.05)
    assert losses(half) != losses(whole)
    weights = load_checkpoint(half.out / "checkpoints" / "step-00000012").state_dict()
    assert any(not torch.equal(weight, weight.bfloat16().float()) for weight in weights.values())


def test_bf16_at_zero_stage_0_is_refused(make_context: MakeContext) -> None:
    with pytest.raises(InputError, match="zero_stage=0 trains differently in bf16"):
        train(make_context(precision="bf16", numerics=Numerics(zero_stage=0)))


def test_validation_loss_is_that_of_the_saved_checkpoint(
    trained: tuple[StageContext, dict[str, Any]], streams: dict[str, Path]
) -> None:
    ctx, result = trained
    stream = np.asarray(open_stream(streams["tokens"], "validation")[: 5 * 16 + 1], dtype=np.int64)
    rows = torch.from_numpy(np.stack([stream[16 * i : 16 * i + 17] for i in range(5)]))
    for checkpoint in result["checkpoints"]:
        model = load_checkpoint(ctx.out / "checkpoints" / f"step-{checkpoint['step']:08d}")
        loss = cross_entropy(model(rows[:, :-1]).logits.flatten(0, 1), rows[:, 1:].flatten())
        assert checkpoint["validation_loss_nats"] == pytest.approx(loss.item(), abs=1e-5)


def test_training_learns_what_the_stream_shows(make_context: MakeContext) -> None:
    ctx = make_context(schedule={"steps": 60, "checkpoint_every": 60})
    result = train(ctx)
    assert losses(ctx)[0] == pytest.approx(math.log(32), abs=0.1)
    assert result["final_train_loss_nats"] < 2.0
    assert result["checkpoints"][-1]["validation_loss_nats"] < 2.5


def test_curves_hold_every_step_and_validation_at_checkpoints(trained: tuple[StageContext, dict[str, Any]]) -> None:
    ctx, _ = trained
    points = curves(ctx)
    assert [point["step"] for point in points] == list(range(1, 13))
    assert [point["tokens"] for point in points] == [64 * step for step in range(1, 13)]
    assert [point["step"] for point in points if "validation_loss_nats" in point] == [3, 6, 9, 12]
    assert all(point["gradient_norm"] > 0 for point in points)
    factor = learning_rate_factor(read_settings(ctx).schedule)
    assert [point["learning_rate"] for point in points] == pytest.approx([0.01 * factor(s) for s in range(12)])


@pytest.mark.parametrize(("share", "synthetic"), [(0.3, 14), (0.5, 24), (1.0, 48)])
def test_result_counts_blocks_by_the_declared_share(make_context: MakeContext, share: float, synthetic: int) -> None:
    result = train(make_context(share=share))
    assert (result["synthetic_blocks"], result["real_blocks"]) == (synthetic, 48 - synthetic)
    assert result["synthetic_passes"] == pytest.approx(synthetic / 18)  # (300 - 1) // 16 blocks
    assert result["real_passes"] == pytest.approx((48 - synthetic) / 43)


def test_real_only_training_keeps_every_checkpoint(trained: tuple[StageContext, dict[str, Any]]) -> None:
    ctx, result = trained
    assert checkpoint_steps(ctx) == [checkpoint["step"] for checkpoint in result["checkpoints"]] == [3, 6, 9, 12]


@pytest.mark.parametrize("learning_rate", [1e-2, 0.3])
def test_mixed_training_keeps_the_best_and_the_last_checkpoint(make_context: MakeContext, learning_rate: float) -> None:
    ctx = make_context(share=0.5, schedule={"learning_rate": learning_rate, "warmup_steps": 0})
    result = train(ctx)
    measured = {p["step"]: p["validation_loss_nats"] for p in curves(ctx) if "validation_loss_nats" in p}
    best = min(measured, key=lambda step: (measured[step], step))
    assert checkpoint_steps(ctx) == sorted({best, 12})
    assert result["checkpoints"] == [
        {"step": step, "validation_loss_nats": measured[step]} for step in sorted({best, 12})
    ]


def test_results_are_pinned(trained: tuple[StageContext, dict[str, Any]]) -> None:
    # A change here, other than rounding, changes every training: bump the revision of the stage kind `train`.
    ctx, result = trained
    assert losses(ctx) == pytest.approx(PINNED_LOSSES, abs=2e-3)
    assert result == {
        "parameters": 6_224,
        "non_embedding_parameters": 5_200,
        "checkpoints": [
            {"step": step, "validation_loss_nats": pytest.approx(loss, abs=2e-3)}
            for step, loss in PINNED_VALIDATION.items()
        ],
        "final_train_loss_nats": losses(ctx)[-1],
        "real_blocks": 48,
        "synthetic_blocks": 0,
        "real_passes": pytest.approx(48 / 43),
        "synthetic_passes": 0.0,
    }


def test_training_without_deepspeed_says_so(make_context: MakeContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deepspeed", None)  # what Python finds when a package is not there
    with pytest.raises(RunError, match="needs the package deepspeed"):
        train(make_context())


def test_costs_hold_tokens_flops_and_speed(trained: tuple[StageContext, dict[str, Any]]) -> None:
    ctx, result = trained
    settings = read_settings(ctx)
    assert ctx.costs["tokens"] == 12 * 64
    assert ctx.costs["flops"] == training_flops(settings.model, settings.vocab_size, 12 * 64)
    assert ctx.costs["tokens_per_second"] > 0
    assert "tokens_per_second" not in result


def test_training_leaves_the_process_as_it_was_and_stdout_alone(
    make_context: MakeContext, capfd: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    train(make_context(numerics=Numerics(threads=2)))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before[1:]
    assert capfd.readouterr().out == ""


def test_diverging_training_names_the_step_and_the_last_good_checkpoint(make_context: MakeContext) -> None:
    with pytest.raises(RunError, match=r"diverged: at step [2-9].*there is no good checkpoint\n.*learning_rate=10"):
        exploding = {"learning_rate": 10.0, "weight_decay": 1e38, "warmup_steps": 0, "checkpoint_every": 12}
        train(make_context(schedule=exploding))


def test_short_streams_are_refused_together(make_context: MakeContext) -> None:
    model = {"layers": 1, "hidden": 16, "heads": 2, "ffn": 16, "context": 1024}
    schedule = {"tokens_per_step": 1024, "validation_tokens": 1024}
    with pytest.raises(InputError) as caught:
        train(make_context(model=model, schedule=schedule, share=0.5))
    assert [fault.split(" tokens")[0] for fault in caught.value.faults] == [
        "the real",
        "the synthetic",
        "the validation",
    ]


def test_settings_with_invalid_inputs_name_every_fault(make_context: MakeContext) -> None:
    schedule = {"tokens_per_step": 60, "checkpoint_every": 5, "validation_tokens": 8}
    with pytest.raises(InputError) as caught:
        read_settings(make_context(schedule=schedule))
    assert len(caught.value.faults) == 3
