"""What a user may add to the generated DeepSpeed configuration (`Numerics.deepspeed`): execution and rounding only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from ablab.errors import did_you_mean

ELSEWHERE: Mapping[str, str] = {
    "optimizer": "the recipe's schedule says how it is optimized",
    "scheduler": "the recipe's schedule says how the learning rate goes",
    "train_batch_size": "it is schedule.tokens_per_step / model.context",
    "train_micro_batch_size_per_gpu": "set numerics.micro_batch",
    "gradient_accumulation_steps": "it follows from numerics.micro_batch and numerics.ranks",
    "gradient_clipping": "set schedule.clip_norm",
    "fp16": "set precision",
    "bf16": "set precision",
    "amp": "set precision",
    "torch_autocast": "set precision",
    "data_types": "set precision",
    "activation_checkpointing": "set numerics.activation_checkpointing",
    "zero_force_ds_cpu_optimizer": "the optimizer is torch's AdamW everywhere",
    "zero_optimization.stage": "set numerics.zero_stage",
    "zero_optimization.offload_optimizer": "set numerics.offload_optimizer",
}
"""Settings of DeepSpeed that are said in one place of ablab's own."""

TOP = (
    "aio",
    "comms_logger",
    "communication_data_type",
    "csv_monitor",
    "dump_state",
    "flops_profiler",
    "gradient_predivide_factor",
    "memory_breakdown",
    "prescale_gradients",
    "steps_per_print",
    "wall_clock_breakdown",
    "zero_optimization",
)
OBJECTS = ("aio", "comms_logger", "csv_monitor", "flops_profiler", "zero_optimization")
ZERO = (
    "allgather_bucket_size",
    "allgather_partitions",
    "contiguous_gradients",
    "log_trace_cache_warnings",
    "memory_efficient_linear",
    "offload_param",
    "overlap_comm",
    "reduce_bucket_size",
    "reduce_scatter",
    "round_robin_gradients",
    "stage3_allgather_sequential",
    "stage3_max_live_parameters",
    "stage3_max_reuse_distance",
    "stage3_model_persistence_threshold",
    "stage3_module_granularity_threshold",
    "stage3_param_persistence_threshold",
    "stage3_prefetch_bucket_size",
    "stage3_use_all_reduce_for_fetch_params",
    "sub_group_size",
    "use_multi_rank_bucket_allreduce",
    "zero_hpz_partition_size",
)
"""DeepSpeed itself passes over a name that it does not know, so names are checked here."""


def deepspeed_faults(added: Mapping[str, JsonValue]) -> Iterator[str]:
    """Every setting that is not the user's to add, each with where it is set."""
    for name in OBJECTS:
        if not isinstance(added.get(name, {}), dict):
            yield f"numerics.deepspeed.{name}={added[name]!r} must be an object; give its settings by name"
    section = added.get("zero_optimization")
    zero = section if isinstance(section, dict) else {}
    known = [*TOP, *(f"zero_optimization.{name}" for name in ZERO)]
    for name in (*added, *(f"zero_optimization.{inner}" for inner in zero)):
        if name in ELSEWHERE:
            yield f"numerics.deepspeed.{name} must be left out: {ELSEWHERE[name]}"
        elif name not in known:
            yield f"numerics.deepspeed.{name} is no setting that can be added; {did_you_mean(name, known)}"
