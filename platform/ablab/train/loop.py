"""The training loop: steps, curves, checkpoints and resume states, until the last step."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, field

from ablab.errors import RunError
from ablab.store.context import Measured, Progress, unheard
from ablab.train.checkpoint import Checkpoints
from ablab.train.data import Batches, Blocks
from ablab.train.engine import Engine, StepReport
from ablab.train.live import Live
from ablab.train.looks import Looks
from ablab.train.ranks import Ranks
from ablab.train.resume import ResumeStates
from ablab.train.settings import TrainSettings
from ablab.train.validation import validation_loss_nats

VALIDATION = "validation_loss_nats"
SHOWN_BLOCKS = 8  # of a batch that went wrong
REPORT_SECONDS = 0.3  # at least this long between two calls of progress


@dataclass
class Trainer:
    """One training from its newest resume state to its last step."""

    settings: TrainSettings
    batches: Batches
    validation: Blocks
    checkpoints: Checkpoints
    states: ResumeStates
    progress: Progress
    ranks: Ranks
    measured: Measured = unheard
    live: Live = field(default_factory=Live)
    looks: Looks = field(default_factory=Looks)
    _seen: str = ""
    """What the last look found, in words."""

    def run(self, engine: Engine) -> tuple[list[str], int]:
        """Train; returns the curves (a JSON line per step) and the step this attempt began from."""
        steps = self.settings.stop
        curves, start = self._resume(engine)
        reported = 0.0
        self.live.begin()
        for step in range(start + 1, steps + 1):
            report = engine.step(self.batches.step(step - 1))
            self._check(report, step)
            point = self._point(step, report)
            scores: dict[str, float] = {}
            if step % self.settings.schedule.checkpoint_every == 0:
                scores = self._checkpoint(step, engine, point, curves)
            else:
                curves.append(_line(point))
            self.live.add(point | scores)
            if time.monotonic() - reported >= REPORT_SECONDS or step == steps:
                self.progress(step, steps, "step", f"loss {report.loss_nats:.2f}{self._seen}")
                reported = time.monotonic()
        return curves, start

    def _resume(self, engine: Engine) -> tuple[list[str], int]:
        steps = self.settings.stop
        state, notes = self.states.newest(self.checkpoints)
        start = 0 if state is None else state.step
        if notes:  # in one report: a second one at once would be held back
            self.progress(start, steps, "step", f"{'; '.join(notes)}; training goes on from step {start}")
        if state is None:
            return [], 0
        engine.load(state.folder, state.ranks)
        self.checkpoints.prune()
        point: dict[str, float] = {}
        scores: dict[str, float] = {}
        for point in map(json.loads, state.curves):
            if VALIDATION in point:
                scores = self._tell(int(point["step"]), point[VALIDATION])
        self.live.begin()
        self.live.add(point | scores)  # again, unless it was killed between this state and its line
        return state.curves, state.step

    def _checkpoint(self, step: int, engine: Engine, point: dict[str, float], curves: list[str]) -> dict[str, float]:
        """Validate and write; the order of the writes makes a kill between any two of them harmless. Returns what
        suites scored, where they are looked at."""
        began = time.monotonic()
        loss = self._validate(engine)
        if not math.isfinite(loss):
            raise self._diverged(step, f"validation loss is {loss}")
        point[VALIDATION] = loss
        curves.append(_line(point))
        self.checkpoints.write(step, loss, engine)
        self.states.save(step, engine, curves, self.checkpoints)
        self.checkpoints.prune()
        scores = self._tell(step, loss)
        self.live.leave_out(time.monotonic() - began)
        return scores

    def _tell(self, step: int, loss: float) -> dict[str, float]:
        """Tell what was measured at a checkpoint that is written, suites among it; returns what these scored."""
        if self.looks.due(step):
            self.progress(step, self.settings.stop, "step", f"validation loss {loss:.2f}, scoring suites")
        scores = self.looks.at(step, self.checkpoints.folder(step))
        if scores:
            self._seen = f", suites {scores['aggregate']:.1f} % at step {step}"
        self.measured(step, {VALIDATION: loss, **scores})
        return scores

    def _validate(self, engine: Engine) -> float:
        blocks = min(len(self.validation), self.settings.schedule.validation_tokens // self.settings.model.context)
        return validation_loss_nats(engine, self.validation, blocks, self.settings.evaluation_rows, self.ranks)

    def _point(self, step: int, report: StepReport) -> dict[str, float]:
        return {
            "step": step,
            "train_loss_nats": report.loss_nats,
            "learning_rate": report.learning_rate,
            "gradient_norm": report.gradient_norm,
            "tokens": step * self.settings.schedule.tokens_per_step,
        }

    def _check(self, report: StepReport, step: int) -> None:
        if not math.isfinite(report.loss_nats):
            raise self._diverged(step, f"training loss is {report.loss_nats}", self._where(step, report))
        if not (report.applied and math.isfinite(report.gradient_norm)):
            raise self._diverged(step, f"gradient norm is {report.gradient_norm}")

    def _where(self, step: int, report: StepReport) -> str:
        """The first blocks with a loss that is not finite, of the first rank that has some."""
        bounds = [0.0] * (2 * self.ranks.size)
        bounds[2 * self.ranks.rank : 2 * self.ranks.rank + 2] = [report.bad_blocks.start, report.bad_blocks.stop]
        bounds = self.ranks.total(*bounds)
        found = (range(int(first), int(stop)) for first, stop in zip(bounds[::2], bounds[1::2], strict=True))
        blocks = next((one for one in found if one), range(0))
        refs = self.batches.refs(step - 1, blocks[:SHOWN_BLOCKS])
        named = ", ".join(f"{ref.pool} {ref.number}" for ref in refs)
        return f", first in its blocks {named}{', ...' * (len(blocks) > SHOWN_BLOCKS)}" if refs else ""

    def _diverged(self, step: int, what: str, where: str = "") -> RunError:
        good = max(self.checkpoints.index, default=None)
        last = "there is no good checkpoint" if good is None else f"the last good checkpoint is of step {good}"
        return RunError(
            f"training diverged: at step {step} the {what}, which must be finite{where}; {last}",
            f"lower schedule.learning_rate={self.settings.schedule.learning_rate}, raise schedule.warmup_steps "
            "or set schedule.clip_norm",
        )


def _line(point: dict[str, float]) -> str:
    return json.dumps(point, allow_nan=False) + "\n"
