"""Small evaluate directories with known scores, written as the evaluation stage writes them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from ablab.spec import (
    Arm,
    AtStep,
    Claim,
    Corpus,
    Design,
    Evaluation,
    Good,
    MicroworldSource,
    MicroworldSuites,
    Mixture,
    Model,
    Recipe,
    Replicate,
    Schedule,
    Tokenizer,
)

Correct = Mapping[str, Mapping[str, NDArray[np.bool_]]]
"""Correctness of every item by suite and task."""

GROUPS = {"minimal_pairs": "linguistic", "qa_congruence": "reasoning", "entity_tracking": "reasoning"}
UNJUDGED = {"wug": ("reasoning", "spearman"), "reading": ("human-likeness", "r2-increment")}
"""Group and metric of suites without right answers."""


def write(
    directory: Path,
    correct: Correct,
    perplexity: float = 20.0,
    precision: str | None = "fp32",
    tokenizer: str = "t" * 64,
    groups: Mapping[str, str] = GROUPS,
    unjudged: Mapping[str, float] | None = None,
    sections: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
    clusters: Sequence[int] | None = None,
) -> Path:
    """`precision` None leaves out stage.json; without `unjudged` (scores) the items have no column `value`.

    clusters: the story of every item of a task, the same numbers in every task of a suite.
    """
    directory.mkdir(parents=True)
    suites = {suite: _suite(tasks, groups[suite], (sections or {}).get(suite)) for suite, tasks in correct.items()}
    for name, score in (unjudged or {}).items():
        group, metric = UNJUDGED[name]
        suites[name] = {"score": score, "group": group, "chance": None, "metric": metric}
        suites[name] |= {"tasks": {"all": {"score": score, "items": 4}}}
    modelling = {"loss_nats": float(np.log(perplexity)), "perplexity": perplexity, "bits_per_byte": 1.0, "tokens": 512}
    result = {"suites": suites, "language_modelling": modelling, "step": 20}
    (directory / "result.json").write_text(json.dumps(result), "utf-8")
    items = _items(correct, groups)
    if clusters is not None:
        rows = [
            f"{suite}/#{clusters[i]}" for suite, tasks in correct.items() for t in tasks.values() for i in range(len(t))
        ]
        items = items.append_column("cluster", pa.array(rows))
    pq.write_table(_with_unjudged(items, unjudged) if unjudged else items, directory / "items.parquet")
    if precision is not None:
        identity = {
            "kind": "evaluate",
            "params": {"precision": precision, "test_tokens": 512},
            "inputs": {"suite": "s" * 64, "tokenizer": tokenizer, "tokens": "c" * 64},
        }
        (directory / "stage.json").write_text(json.dumps(identity), "utf-8")
    return directory


def _suite(
    tasks: Mapping[str, NDArray[np.bool_]], group: str, sections: Mapping[str, Sequence[str]] | None
) -> dict[str, Any]:
    scores = {task: 100.0 * float(np.mean(correct)) for task, correct in tasks.items()}
    by_section = [[scores[task] for task in names] for names in (sections or {"": list(tasks)}).values()]
    return ({} if sections is None else {"sections": sections}) | {
        "score": float(np.mean([np.mean(section) for section in by_section])),
        "group": group,
        "chance": 50.0,
        "tasks": {task: {"score": score, "items": len(tasks[task])} for task, score in scores.items()},
    }


def _items(correct: Correct, groups: Mapping[str, str]) -> pa.Table:
    rows = [
        (f"{suite}/{task}/{index}", suite, task, groups[suite], bool(value))
        for suite, tasks in correct.items()
        for task, values in tasks.items()
        for index, value in enumerate(values)
    ]
    item, suite, task, group, value = zip(*rows, strict=True)
    return pa.table(
        {
            "item": list(item),
            "suite": list(suite),
            "task": list(task),
            "group": list(group),
            "correct": pa.array(value, pa.bool_()),
            "prediction": pa.array([0] * len(rows), pa.int32()),
            "log_probs": pa.array([[-1.0, -2.0]] * len(rows), pa.list_(pa.float64())),
        }
    )


def _with_unjudged(items: pa.Table, unjudged: Mapping[str, float]) -> pa.Table:
    """Four items of every suite without right answers behind the others, and the column `value`."""
    rows = [
        {"item": f"{name}/all/{i}", "suite": name, "task": "all", "group": UNJUDGED[name][0], "log_probs": [-1.0]}
        for name in unjudged
        for i in range(4)
    ]
    schema = items.schema
    more = pa.Table.from_pylist([row | {"correct": None, "prediction": 0} for row in rows], schema)
    values = [None] * len(items) + [0.5] * len(rows)
    return pa.concat_tables([items, more]).append_column("value", pa.array(values, pa.float64()))


@pytest.fixture
def write_result(tmp_path: Path) -> Callable[..., Path]:
    """Writes a new directory at every call: `write_result(correct, perplexity=..., precision=...)`."""
    numbers = itertools.count()
    return lambda correct, **more: write(tmp_path / f"result-{next(numbers)}", correct, **more)


ANCESTRAL = {
    "bad": None,
    "decoding": {
        "strength": 0.0,
        "alpha": 0.0,
        "temperature": 1.0,
        "bad_temperature": 1.0,
        "top_k": None,
        "top_p": None,
        "stop_at_eos": False,
        "keep_prompt": True,
    },
    "prompts": {"tokens": 8, "chunk_words": 30, "new_tokens": 24},
    "tokens": 1_000,
}


def recipe() -> Recipe:
    return Recipe(
        corpus=Corpus(
            sources=(MicroworldSource(world_seed=1, words=5_000, validation_words=500, test_words=500),),
            seed_share=0.05,
            split_seed=1,
            word_budget=None,
        ),
        tokenizer=Tokenizer(vocab_size=384),
        model=Model(layers=1, hidden=16, heads=2, ffn=32, context=32),
        schedule=Schedule(
            steps=20,
            tokens_per_step=64,
            learning_rate=1e-3,
            warmup_steps=2,
            weight_decay=0.1,
            checkpoint_every=10,
            validation_tokens=512,
        ),
        precision="fp32",
        good=Good(train_seed=1, selection=AtStep(step=20)),
        synthetic=None,
        mixture=Mixture(share=0.0),
        evaluation=Evaluation(
            suites=(MicroworldSuites(world_seed=1, items_per_task=8, names=tuple(GROUPS)),),
            selection=AtStep(step=20),
            test_tokens=512,
        ),
    )


def claim(**changes: Any) -> Claim:
    fields: dict[str, Any] = {
        "id": "helps",
        "statement": "Synthetic text [of any kind] helps reasoning",
        "factor": "mixture.share",
        "metric": "reasoning",
        "arm": "mixed",
        "against": "real",
        "direction": "greater",
        "margin": 0.0,
    }
    return Claim(**(fields | changes))


@pytest.fixture
def make_recipe() -> Callable[[], Recipe]:
    return recipe


@pytest.fixture
def make_claim() -> Callable[..., Claim]:
    return claim


@pytest.fixture
def make_design() -> Callable[..., Design]:
    """A control `real` and two arms, `mixed` and `masked`; `seeds` are (train, generation) of every replicate."""

    def make(seeds: Sequence[tuple[int, int]], claims: Sequence[Claim] = ()) -> Design:
        return Design(
            control="real",
            recipe=recipe(),
            arms=(
                Arm(name="mixed", edits={"synthetic": ANCESTRAL, "mixture.share": 0.3}),
                Arm(name="masked", of="mixed", edits={"synthetic.decoding.alpha": 0.1}),
            ),
            replicates=tuple(Replicate(train_seed=t, generation_seed=g) for t, g in seeds),
            claims=tuple(claims),
        )

    return make


@pytest.fixture
def random_answers() -> Callable[..., Correct]:
    """Answers of a model: the items' difficulty is shared, `shift` moves the chance of a right answer."""

    def answers(seed: int, shift: float = 0.0, items: int = 20) -> Correct:
        difficulty, own = np.random.default_rng(0), np.random.default_rng(seed)
        tasks = {"minimal_pairs": ("agreement", "order"), "qa_congruence": ("who",), "entity_tracking": ("zero", "one")}
        return {
            suite: {task: difficulty.normal(0.5, 1.0, items) + own.normal(shift, 0.7, items) > 0.0 for task in names}
            for suite, names in tasks.items()
        }

    return answers
