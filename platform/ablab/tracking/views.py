"""What can be shown in MLflow: plain data, so that tracking knows nothing of runner, analysis or registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Status = Literal["running", "finished", "failed", "interrupted"]


@dataclass(frozen=True)
class StageView:
    """One finished stage: its directory and what its three JSON files hold."""

    key: str
    kind: str
    directory: Path
    identity: Mapping[str, Any]
    """`stage.json`: schema, kind, revision, params, inputs."""
    result: Mapping[str, Any]
    manifest: Mapping[str, Any]
    label: str = ""
    """What people call it, for the run's name; the first digits of the key when empty."""
    finished_ms: int | None = None
    """Milliseconds since 1970; when None, the time at which `result.json` was written."""
    draw: Callable[[Path], Mapping[str, Path]] | None = None
    """Writes further artifacts into a folder and gives them by name; called only when the run is written."""


@dataclass(frozen=True)
class DatasetView:
    """A corpus that an arm was trained on or judged by."""

    name: str
    key: str
    """Key of the stage that made it; MLflow shows its first 36 digits as the digest."""
    context: str
    """What it was used for: train, validation, synthetic, test, ..."""
    profile: Mapping[str, Any] = field(default_factory=dict)
    """Numbers about it: words, documents, ..."""


@dataclass(frozen=True)
class ModelView:
    """The checkpoint of a training that an arm is judged by."""

    train: str
    """Key of the train stage."""
    step: int
    tokenizer: Path
    """Directory with `tokenizer.json` and `tokenizer_config.json`."""
    name: str
    """Registered model: see `model_name`."""
    alias: str
    """The replicate, so `models:/<name>@<alias>` loads it."""


@dataclass(frozen=True)
class ArmView:
    """One arm in one replicate."""

    arm: str
    replicate: str
    factors: Mapping[str, str]
    """Recipe paths and their values."""
    metrics: Mapping[str, float]
    stages: Mapping[str, str]
    """Stage keys by role."""
    datasets: tuple[DatasetView, ...] = ()
    model: ModelView | None = None
    differences: Mapping[str, float] = field(default_factory=dict)
    """Paired difference from the control in the same replicate, by metric; none of the control itself."""
    verdicts: Mapping[str, str] = field(default_factory=dict)
    """Of claims about this arm, by claim."""
    status: Status = "finished"
    remark: str = ""
    """What a reader should know beside all this; a sentence."""
    colour: str = ""
    """In which its runs are drawn: '#0072B2'; MLflow's choice when empty."""


@dataclass(frozen=True)
class ExecutionView:
    """One execution of an ablation at one scale, with everything that its pages show."""

    id: str
    label: str
    """What people call it: 'contrastive-vs-masked@1 smoke'."""
    ablation: str
    scale: str
    question: str
    status: Status
    outcome_line: str
    """The outcome in one line: the first line of every description."""
    description_md: str
    design_digest: str
    started_ms: int
    finished_ms: int | None
    """None while it runs."""
    arms: tuple[ArmView, ...]
    stages: tuple[StageView, ...] = ()
    """Stages to publish with it; those that the arms name and that are not here are linked by key alone."""
    edits: Mapping[str, str] = field(default_factory=dict)
    """What `--set` changed."""
    parent_metrics: Mapping[str, float] = field(default_factory=dict)
    artifacts: Mapping[str, Path] = field(default_factory=dict)
    """Files of the parent run by artifact name: comparison.json, comparison.csv, plot.png, ..."""
    control: str = ""
    """The arm that the others are compared with."""
    headline: tuple[str, ...] = ()
    """Metrics that the prepared views draw."""
    top: tuple[str, ...] = ()
    """Those of them that come first; views sort by the first one."""
    claimed: tuple[str, ...] = ()
    """Factors that claims are about."""
    tags: Mapping[str, str] = field(default_factory=dict)

    def arm_names(self) -> tuple[str, ...]:
        """Every arm once."""
        return tuple(dict.fromkeys(arm.arm for arm in self.arms))


def model_name(ablation: str, scale: str, arm: str) -> str:
    """The registered model of an arm; its replicates are aliases of it."""
    return f"ablab-{ablation}-{scale}-{arm}"
