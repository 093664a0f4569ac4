"""Model checkpoints of a training: written into the working directory as it goes, handed over at the end.

Which are kept follows from the stage's identity (`kept`): a training on real text only keeps every one, since GOOD,
BAD and any selection rule may ask for any of them. One that ends at a step that was selected elsewhere keeps that
step. A training with synthetic text keeps the last, the one with the lowest validation loss (the earliest of equals)
and those that are declared, which is all that a judged model needs.
"""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from ablab.models.llama import save_checkpoint
from ablab.store.files import sync_directory, sync_tree
from ablab.train.digests import digests
from ablab.train.engine import Engine
from ablab.train.ranks import ALONE, Ranks
from ablab.train.settings import TrainSettings

FOLDER = "checkpoints"


def step_name(step: int) -> str:
    """Folder of a step: `step-00000050`."""
    return f"step-{step:08d}"


@dataclass(frozen=True)
class Kept:
    """Which checkpoints stay."""

    steps: frozenset[int]
    """Always, each."""
    every: bool = False
    best: bool = False
    """The one with the lowest validation loss so far, the earliest of equals."""


def kept(settings: TrainSettings) -> Kept:
    """The rule of one training."""
    if settings.ends_early:
        return Kept(frozenset({settings.stop}))
    if settings.share == 0.0:
        return Kept(frozenset(), every=True)
    return Kept(frozenset({settings.stop, *settings.keep}), best=True)


class Checkpoints:
    """The checkpoints kept so far, in `work/checkpoints`.

    `index` maps step to `{"validation_loss_nats": float, "files": {name: SHA-256}}`; resume states hold it.
    """

    def __init__(self, work: Path, rule: Kept, ranks: Ranks = ALONE) -> None:
        self._folder = work / FOLDER
        self._rule = rule
        self._ranks = ranks
        self.index: dict[int, dict[str, Any]] = {}

    def folder(self, step: int) -> Path:
        """Where the checkpoint of a step is, if it is kept."""
        return self._folder / step_name(step)

    def write(self, step: int, validation_loss_nats: float, engine: Engine) -> None:
        """Write the checkpoint of `step` if it is one to keep; a folder of this name is always complete."""
        rule = self._rule
        best = rule.best and self._is_best(validation_loss_nats)
        if not (rule.every or best or step in rule.steps):
            return
        weights = engine.weights()  # of all ranks
        files = self._save(step, engine, weights) if self._ranks.first else {}
        if best:  # which no earlier one is any more
            self.index = {number: entry for number, entry in self.index.items() if number in rule.steps}
        self.index[step] = {"validation_loss_nats": validation_loss_nats, "files": files}

    def _save(self, step: int, engine: Engine, weights: dict[str, torch.Tensor]) -> dict[str, str]:
        """SHA-256 of the files written."""
        partial = self._folder / f"partial-{step_name(step)}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            save_checkpoint(partial, engine.config, weights)
        except SafetensorError as error:  # which it makes of any failed write
            raise OSError(
                errno.ENOSPC, f"a checkpoint could not be written: {error}; full disk?", str(partial)
            ) from error
        files = digests(partial)
        sync_tree(partial)
        target = self.folder(step)
        shutil.rmtree(target, ignore_errors=True)  # left by an attempt that was killed before its resume state
        partial.rename(target)
        sync_directory(self._folder)  # before a resume state names it
        return files

    def prune(self) -> None:
        """Remove every folder that `index` does not name."""
        if not self._ranks.first:
            return
        names = {step_name(step) for step in self.index}
        for folder in self._folder.iterdir() if self._folder.is_dir() else ():
            if folder.name not in names:
                shutil.rmtree(folder)

    def damaged(self, index: dict[int, dict[str, Any]]) -> list[str]:
        """What of `index` is missing or damaged."""
        return [
            f"{FOLDER}/{step_name(step)}"
            for step, entry in index.items()
            if digests(self.folder(step)) != entry["files"]
        ]

    def publish(self, out: Path) -> None:
        """Put the kept checkpoints under `out`, by hard links where the file system has them."""
        for step in sorted(self.index):
            source, target = self.folder(step), out / FOLDER / step_name(step)
            target.mkdir(parents=True)
            for file in sorted(source.iterdir()):
                _link_or_copy(file, target / file.name)

    def summary(self) -> list[dict[str, Any]]:
        """The kept checkpoints for the result, by step."""
        return [
            {"step": step, "validation_loss_nats": self.index[step]["validation_loss_nats"]}
            for step in sorted(self.index)
        ]

    def _is_best(self, loss: float) -> bool:
        return all(loss < entry["validation_loss_nats"] for entry in self.index.values())


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)
