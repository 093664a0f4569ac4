"""Stages: the nodes of the DAG, their kinds and their keys.

A stage is addressed by the SHA-256 of what it is (kind, revision, parameters) and of the keys of its inputs
(a Merkle tree), so equal work has one address wherever it is declared. Kinds name their implementation as
`module:function`, so planning imports none of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ablab.spec.canonical import SCHEMA, digest, plain


@dataclass(frozen=True)
class StageKind:
    """`revision` is bumped by hand when a change of code changes results; a pinned-output test notices."""

    name: str
    revision: int
    implementation: str  # "module:function", function(ctx: ablab.store.context.StageContext) -> result dict
    doc: str


_KINDS = (
    StageKind("corpus", 2, "ablab.corpora.stages:build_corpus", "documents, deduplicated, in disjoint splits"),
    StageKind("tokenizer", 1, "ablab.corpora.stages:train_tokenizer", "BPE trained on the train split"),
    StageKind("tokens", 1, "ablab.corpora.stages:tokenize", "flat token streams of the splits"),
    StageKind("suite", 3, "ablab.corpora.suites:build_suite", "evaluation items in one common shape"),
    StageKind("requests", 2, "ablab.evaluate.requests:build", "evaluation items as tokens"),
    StageKind("train", 3, "ablab.train.stage:train", "a model and its checkpoints"),
    StageKind("select", 1, "ablab.train.select:select", "which checkpoint of a run is used"),
    StageKind(
        "manipulation", 1, "ablab.generate.manipulation:manipulation", "how far the arms' distributions are apart"
    ),
    StageKind("generate", 2, "ablab.generate.stage:generate", "a synthetic corpus"),
    StageKind("describe", 2, "ablab.corpora.describe:describe", "statistics of a corpus"),
    StageKind("evaluate", 5, "ablab.evaluate.stage:evaluate", "scores of a checkpoint, item by item"),
    StageKind("curve", 2, "ablab.evaluate.curve:learning_curve", "scores of some suites at checkpoints of a training"),
    StageKind("floor", 4, "ablab.evaluate.floor:evaluate_floor", "a 5-gram model's scores on the same items"),
)
KINDS: Mapping[str, StageKind] = {kind.name: kind for kind in _KINDS}
LOOK = "ablab.evaluate.curve:look"
"""Scores a `curve`'s suites at a checkpoint while the training goes on: look(ctx of the curve, step, checkpoint)."""


@dataclass(frozen=True)
class Stage:
    """One node. `params` are JSON-like; `sources` maps content digests to paths (execution, never hashed)."""

    kind: str
    params: Mapping[str, Any]
    inputs: Mapping[str, Stage] = field(default_factory=dict)
    locations: Mapping[str, str] = field(default_factory=dict, compare=False)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What is hashed, and what `stage.json` holds."""
        return {
            "schema": SCHEMA,
            "kind": self.kind,
            "revision": KINDS[self.kind].revision,
            "params": plain(self.params, self.kind),
            "inputs": {name: stage.key for name, stage in self.inputs.items()},
        }

    @cached_property
    def key(self) -> str:
        return digest(self.identity)

    def __hash__(self) -> int:
        return hash(self.key)

    def walk(self) -> Iterator[Stage]:
        """This stage and everything below it, inputs first, each key once."""
        seen: set[str] = set()
        yield from _walk(self, seen)


def _walk(stage: Stage, seen: set[str]) -> Iterator[Stage]:
    if stage.key in seen:
        return
    for name in sorted(stage.inputs):
        yield from _walk(stage.inputs[name], seen)
    seen.add(stage.key)
    yield stage
