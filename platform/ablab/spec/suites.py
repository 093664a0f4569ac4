"""Suites: what zero-shot items a recipe is judged by."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ablab.spec.base import EXECUTION, INERT, Name, Positive, Spec

Group = Literal["linguistic", "reasoning", "human-likeness"]
SuiteTask = Literal["sentence-pairs", "ewok", "entity-tracking", "wug", "eye-tracking", "self-paced-reading"]


class MicroworldSuites(Spec):
    """The suites of the built-in world."""

    kind: Literal["microworld"] = "microworld"
    world_seed: int
    items_per_task: Positive
    names: tuple[Name, ...] = Field(min_length=1)


class BabyLMSuite(Spec):
    """One suite of the BabyLM 2025 evaluation in its official layout.

    `task` says what the files hold and how they are scored: sentence pairs (BLiMP, Supplement), EWoK (`path` is its
    encrypted zip, whose password is taken from `ABLAB_EWOK_PASSWORD`), entity tracking, nonce words (WUG), reading.
    """

    kind: Literal["babylm"] = "babylm"
    name: Name
    group: Group
    path: str = Field(json_schema_extra=EXECUTION)
    """Folder (EWoK: zip file), absolute or relative to `ABLAB_DATA`."""
    items_per_task: Positive | None
    """First rows of every file to take (entity tracking: of every number of operations); None for all."""
    digests: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of each file, by file name; filled in by resolving."""
    task: SuiteTask = Field(default="sentence-pairs", json_schema_extra=INERT)
    files: tuple[str, ...] | None = Field(default=None, min_length=1, json_schema_extra=EXECUTION)
    """File names that make the suite (EWoK: in its zip); a missing or another one is an error. None takes them all."""
    leading_space: bool = Field(default=False, json_schema_extra=INERT)
    """Reading only: tokenize the word with the space before it. The public pipeline does not (False)."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.leading_space and self.task not in ("eye-tracking", "self-paced-reading"):
            raise ValueError(f"leading_space is for reading only, not for task {self.task!r}; remove it")
        return self


RIGHT_OR_WRONG = ("acc", "acc_norm", "acc_bytes", "exact_match")
"""Metrics of lm-eval that are the share of documents that were answered right."""


class LmEvalTasks(Spec):
    """Tasks of lm-evaluation-harness, run by its own code on snapshots that `ablab data fetch` makes.

    A snapshot holds a task's configuration, code and documents; the suite's score is the mean over its tasks.
    """

    kind: Literal["lm-eval"] = "lm-eval"
    name: Name
    group: Group
    tasks: tuple[Name, ...] = Field(min_length=1)
    """Names of single tasks, as lm-eval lists them; not of groups."""
    limit: Positive | None
    """First documents of every task to take; None for all."""
    metric: str = Field(default="acc", json_schema_extra=INERT)
    """Which of the tasks' metrics counts: a share from 0 to 1, such as acc, acc_norm, exact_match, f1."""
    filter: str = Field(default="none", json_schema_extra=INERT)
    """Which of the tasks' filters counts; most tasks have one that is called none."""
    path: str = Field(default="lm-eval", json_schema_extra=EXECUTION)
    """Folder of snapshots, absolute or relative to `ABLAB_DATA`."""
    include: str | None = Field(default=None, json_schema_extra=EXECUTION)
    """Folder of task files of one's own, which are looked at before lm-eval's when a snapshot is made."""
    digests: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of each snapshot, by file name; filled in by resolving."""


SuiteSource = Annotated[MicroworldSuites | BabyLMSuite | LmEvalTasks, Field(discriminator="kind")]
