"""A DeepSpeed state for another number of ranks: its universal checkpoints.

ZeRO divides the optimizer's state among the ranks that saved it. DeepSpeed's converter puts the parts of every
parameter together again, and any number of ranks can load that. Both unpickle: only states that were verified come
here.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ablab.train.ranks import Ranks

FOLDER = "universal"  # beside the states, not in one: their files are those of their digests


@contextmanager
def reshaped(
    state: Path, tag: str, saved_by: int, zero_stage: int, ranks: Ranks, optimizer: Any
) -> Iterator[tuple[Path, bool]]:
    """Where these ranks load `state` from, and whether it is universal there; what was converted is removed again.

    Without ZeRO (stage 0) every rank holds the whole state, and nothing is converted.
    """
    if saved_by == ranks.size or zero_stage == 0:
        yield state, False
        return
    folder = state.parent / FOLDER
    if ranks.first:
        shutil.rmtree(folder, ignore_errors=True)
        _convert(state / tag, folder / tag)
    ranks.barrier()
    with _keeping_groups_apart(optimizer):
        yield folder, True
    ranks.barrier()
    if ranks.first:
        shutil.rmtree(folder)


@contextmanager
def _keeping_groups_apart(optimizer: Any) -> Iterator[None]:
    """Mends what DeepSpeed 0.19 does to parameter groups when it loads a universal state at ZeRO stage 3.

    All get the weight decay of the first, and one tensor as their step, which each of them would then count up.
    """
    decays = [group["weight_decay"] for group in optimizer.param_groups]
    yield
    for group, decay in zip(optimizer.param_groups, decays, strict=True):
        group["weight_decay"] = decay
    for state in optimizer.state.values():
        if isinstance(state.get("step"), torch.Tensor):
            state["step"] = state["step"].clone()


def _convert(source: Path, target: Path) -> None:
    from deepspeed.checkpoint.ds_to_universal import main

    target.mkdir(parents=True)
    with contextlib.redirect_stdout(sys.stderr):  # stdout belongs to the caller
        main(
            Namespace(
                input_folder=str(source),
                output_folder=str(target),
                num_extract_workers=1,  # in this process
                num_merge_workers=1,
                keep_temp_folder=False,
                strict=True,
                inject_missing_state=True,
            )
        )
