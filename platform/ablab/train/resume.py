"""Resume states: what a killed training continues from, bit by bit; with another number of ranks within rounding.

`work/resume/step-%08d/` holds DeepSpeed's own files, the curves so far and a marker. DeepSpeed's files are pickles,
so nothing of a state is loaded before every digest in its marker is verified. A state is written under another
name and renamed when it is complete; only the newest is kept.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ablab.spec.canonical import digest
from ablab.store.files import sync_directory, sync_tree
from ablab.train.checkpoint import Checkpoints, step_name
from ablab.train.digests import digests
from ablab.train.engine import Engine
from ablab.train.ranks import ALONE, Ranks
from ablab.train.settings import TrainSettings

MARKER, CURVES, PARTIAL = "marker.json", "curves.jsonl", "partial"
WITH_RANKS = frozenset({"ranks", "micro_batch", "threads"})  # follow from how many ranks share a step


@dataclass(frozen=True)
class ResumeState:
    """A verified state."""

    step: int
    """Optimizer steps that are done."""
    folder: Path
    ranks: int
    """That it was saved by. Another number than now goes on within rounding, not bit by bit."""
    curves: list[str]
    """One JSON line per step done."""


def began_with(key: str, settings: TrainSettings) -> dict[str, Any]:
    """What must be equal for a continued training to give the bytes of an undisturbed one."""
    versions = {name: version(name) for name in ("torch", "deepspeed", "transformers")}
    return {"key": key, **settings.numerics(), **versions}


class ResumeStates:
    """The resume states of one stage."""

    def __init__(self, work: Path, conditions: Mapping[str, Any], ranks: Ranks = ALONE) -> None:
        self._folder = work / "resume"
        self._ranks = ranks
        self._conditions = dict(conditions)
        self.other_ranks: dict[str, int] = {}
        """Steps up to which the training had another number of ranks than from there on, with that number."""

    def save(self, step: int, engine: Engine, curves: Sequence[str], checkpoints: Checkpoints) -> None:
        """Make `step` the state to resume from, and remove older ones."""
        partial = self._folder / PARTIAL
        if self._ranks.first:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        self._ranks.barrier()
        engine.save(partial)
        self._ranks.barrier()
        if self._ranks.first:
            self._complete(partial, step, curves, checkpoints)

    def _complete(self, partial: Path, step: int, curves: Sequence[str], checkpoints: Checkpoints) -> None:
        """Add what DeepSpeed does not know, and give the state its name."""
        (partial / CURVES).write_text("".join(curves), encoding="utf-8")
        body = {
            "step": step,
            "began_with": self._conditions,
            "other_ranks": self.other_ranks,
            "checkpoints": {str(number): entry for number, entry in checkpoints.index.items()},
            "files": digests(partial),
        }
        marker = {"body": body, "sha256": digest(body)}
        (partial / MARKER).write_text(json.dumps(marker, indent=1), encoding="utf-8")
        sync_tree(partial)
        target = self._folder / step_name(step)
        shutil.rmtree(target, ignore_errors=True)  # one that was found damaged
        partial.rename(target)
        sync_directory(self._folder)  # only then may the older ones go
        for folder in self._folder.iterdir():
            if folder != target:
                shutil.rmtree(folder)

    def newest(self, checkpoints: Checkpoints) -> tuple[ResumeState | None, list[str]]:
        """The newest state that verifies, with `checkpoints` restored to it, and a note for each that does not."""
        found = self._ranks.from_first(lambda: self._find(checkpoints))
        if found["folder"] is None:
            return None, found["notes"]
        folder = Path(found["folder"])
        checkpoints.index = {int(number): entry for number, entry in found["checkpoints"].items()}
        curves = (folder / CURVES).read_text(encoding="utf-8").splitlines(keepends=True)
        state = ResumeState(found["step"], folder, _ranks(found["began_with"]), curves)
        self.other_ranks = found.get("other_ranks", {})
        if state.ranks != self._ranks.size:
            self.other_ranks = {**self.other_ranks, str(state.step): state.ranks}
            found["notes"].append(
                f"resume state {folder.name} was saved by ranks={state.ranks}, now {self._ranks.size}: "
                "equal within rounding from here"
            )
        return state, found["notes"]

    def _find(self, checkpoints: Checkpoints) -> dict[str, Any]:
        """The body of the newest marker that verifies with its folder (null without), and the notes; JSON-like."""
        notes: list[str] = []
        found = sorted(self._folder.glob("step-*"), reverse=True) if self._folder.is_dir() else []
        for folder in found:
            body, fault = self._verify(folder, checkpoints)
            if body is not None:
                return {**body, "folder": str(folder), "notes": notes}
            notes.append(f"resume state {folder.name} not used: {fault}")
        return {"folder": None, "notes": notes}

    def _verify(self, folder: Path, checkpoints: Checkpoints) -> tuple[dict[str, Any] | None, str]:
        body = _read_marker(folder / MARKER)
        if body is None:
            return None, f"{MARKER} is missing or damaged"
        if not _continues(body["began_with"], self._conditions):
            return None, f"it was begun with {_difference(body['began_with'], self._conditions)}"
        files = digests(folder)
        files.pop(MARKER)
        damaged = sorted(name for name in {*files, *body["files"]} if files.get(name) != body["files"].get(name))
        kept = {int(number): entry for number, entry in body["checkpoints"].items()}
        damaged = damaged or checkpoints.damaged(kept)
        if damaged:
            return None, f"damaged or missing: {', '.join(damaged)}"
        return body, ""


def _read_marker(path: Path) -> dict[str, Any] | None:
    """The body of a marker, or None when it is absent or is not what was written."""
    try:
        marker = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    if not isinstance(marker, dict) or digest(marker.get("body")) != marker.get("sha256"):
        return None
    body: dict[str, Any] = marker["body"]
    return body


def _ranks(conditions: Mapping[str, Any]) -> int:
    return int(conditions.get("ranks", 1))


def _continues(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Equal conditions, or equal but for another number of ranks and what follows from it."""
    free = WITH_RANKS if _ranks(before) != _ranks(now) else frozenset()
    return all(before.get(name) == now.get(name) for name in {*before, *now} - free)


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name}={before.get(name)!r} (now {now.get(name)!r})"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    )
