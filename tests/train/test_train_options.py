"""DeepSpeed's own options: offloading, activation checkpointing, and what a user adds to its configuration."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from ablab.errors import InputError, RunError
from ablab.spec.deepspeed import ELSEWHERE
from ablab.spec.placement import Numerics
from ablab.store.context import StageContext
from ablab.train.config import deepspeed_config, telling_what_is_wrong
from ablab.train.engine import Engine, numerics
from ablab.train.settings import read_settings
from ablab.train.stage import train

MakeContext = Callable[..., StageContext]
Trained = tuple[StageContext, dict[str, Any]]


def losses(ctx: StageContext) -> list[float]:
    return [json.loads(line)["train_loss_nats"] for line in (ctx.out / "curves.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    "changes",
    [
        {"offload_optimizer": True},
        {"offload_optimizer": True, "zero_stage": 3},
        {"activation_checkpointing": True, "micro_batch": 2},
        {"activation_checkpointing": True, "offload_optimizer": True, "zero_stage": 2},
        {"zero_stage": 2, "deepspeed": {"zero_optimization": {"reduce_bucket_size": 1_000, "overlap_comm": False}}},
    ],
)
def test_memory_savers_and_added_settings_give_the_same_losses(
    changes: dict[str, Any], make_context: MakeContext, trained: Trained
) -> None:
    ctx = make_context(numerics=Numerics(**changes))
    assert train(ctx)["checkpoints"] == [
        {**one, "validation_loss_nats": pytest.approx(one["validation_loss_nats"], abs=1e-4)}
        for one in trained[1]["checkpoints"]
    ]
    assert losses(ctx) == pytest.approx(losses(trained[0]), abs=1e-4)


@pytest.mark.parametrize("micro_batch", [1, 4])
def test_what_one_rank_is_spared_of_zero_changes_no_bit(
    micro_batch: int, make_context: MakeContext, digest_files: Callable[..., dict[str, str]]
) -> None:
    usual = {"zero_optimization": {"reduce_scatter": True, "reduce_bucket_size": 500_000_000}}
    files = []
    for added in ({}, usual):
        chosen = Numerics.model_validate({"micro_batch": micro_batch, "deepspeed": added})
        ctx = make_context(precision="bf16", schedule={"clip_norm": 0.5}, numerics=chosen)
        train(ctx)
        files.append(digest_files(ctx.out))
    assert files[0] == files[1]


def test_they_are_really_on(make_context: MakeContext) -> None:
    chosen = Numerics(offload_optimizer=True, activation_checkpointing=True)
    settings = read_settings(make_context(numerics=chosen))
    assert settings.zero_stage == 1  # which offloading needs
    with numerics(settings), Engine(settings) as engine:
        assert engine._engine.optimizer.cpu_offload
        assert all(layer.gradient_checkpointing for layer in engine._model.model.layers)


def test_the_configuration_is_beside_the_run_and_in_what_the_manifest_records(make_context: MakeContext) -> None:
    ctx = make_context(numerics=Numerics(micro_batch=2, deepspeed={"wall_clock_breakdown": False}))
    train(ctx)
    config = ctx.record["deepspeed"]
    assert json.loads((ctx.work / "deepspeed.json").read_text()) == config
    assert config["gradient_accumulation_steps"] == 2
    assert config["wall_clock_breakdown"] is False
    assert not (ctx.out / "deepspeed.json").exists()


def test_what_is_added_is_merged_name_by_name(make_context: MakeContext) -> None:
    added: dict[str, Any] = {"zero_optimization": {"overlap_comm": False}, "steps_per_print": 5}
    config = deepspeed_config(read_settings(make_context(numerics=Numerics(zero_stage=2, deepspeed=added))))
    assert config["zero_optimization"] == {"stage": 2, "overlap_comm": False}
    assert config["steps_per_print"] == 5


def test_settings_that_are_said_elsewhere_or_unknown_are_refused_together(make_context: MakeContext) -> None:
    said = {name: 1 for name in ELSEWHERE if "." not in name}
    added: dict[str, Any] = {
        **said,
        "zero_optimization": {"stage": 2, "offload_optimizer": {}, "overlap_com": True},
        "aio": 3,
    }
    with pytest.raises(InputError) as caught:
        read_settings(make_context(numerics=Numerics(deepspeed=added)))
    faults = caught.value.faults
    assert len(faults) == len(ELSEWHERE) + 2
    for name, where in ELSEWHERE.items():
        assert f"numerics.deepspeed.{name} must be left out: {where}" in faults
    assert any(
        "zero_optimization.overlap_com is no setting" in f and "'zero_optimization.overlap_comm'" in f for f in faults
    )
    assert "numerics.deepspeed.aio=3 must be an object; give its settings by name" in faults


def test_what_deepspeed_refuses_is_told_as_the_users(make_context: MakeContext) -> None:
    added: dict[str, Any] = {"zero_optimization": {"reduce_bucket_size": "large"}}
    with pytest.raises(InputError, match=r"DeepSpeed refuses it: .*reduce_bucket_size"):
        train(make_context(numerics=Numerics(zero_stage=1, deepspeed=added)))


def test_an_operator_that_cannot_be_built_says_what_to_install(make_context: MakeContext) -> None:
    """Parameters on NVMe need one that DeepSpeed compiles against libaio; nothing else that ablab asks for does."""
    settings = read_settings(make_context())
    for told in ("Unable to JIT load the async_io op", "Error building extension 'async_io'", "Ninja is required"):
        with pytest.raises(RunError, match="install a C") as caught, telling_what_is_wrong(settings):
            raise RuntimeError(told)
        assert "g++ ninja-build libaio-dev" in str(caught.value)


def test_offloading_without_zero_is_refused(make_context: MakeContext) -> None:
    with pytest.raises(InputError, match="offload_optimizer needs ZeRO"):
        read_settings(make_context(numerics=Numerics(offload_optimizer=True, zero_stage=0)))


def test_a_state_is_not_continued_with_another_configuration(make_context: MakeContext) -> None:
    plain = read_settings(make_context())
    added = read_settings(make_context(numerics=Numerics(deepspeed={"dump_state": False})))
    assert plain.numerics() != added.numerics()
    assert set(plain.numerics()) == {"threads", "device", "micro_batch", "evaluation_rows", "zero_stage"}
