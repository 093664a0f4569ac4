"""Recipes and texts that the tests of corpora share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ablab.corpora.resolve import resolve_recipe
from ablab.corpora.streams import read_documents
from ablab.errors import InputError
from ablab.spec import BabyLMSource, BabyLMSuite, Recipe, Replicate, edit, lower
from experiments.scales import tiny

REPLICATE = Replicate(train_seed=1, generation_seed=1)
WORLD = {
    "kind": "microworld",
    "name": "world",
    "world_seed": 1,
    "words": 15_000,
    "validation_words": 1_500,
    "test_words": 1_500,
}


def source(
    name: str, path: Path | str, words: int | None = None, evaluation_words: int | None = None
) -> dict[str, Any]:
    return {
        "kind": "babylm",
        "name": name,
        "path": str(path),
        "words": words,
        "evaluation_words": evaluation_words,
    }


def recipe(
    sources: list[dict[str, Any]], suites: list[dict[str, Any]] | None = None, edits: dict[str, Any] | None = None
) -> Recipe:
    """The tiny recipe over other sources and suites."""
    changed = {"corpus.sources": sources} | (edits or {})
    if suites is not None:
        changed["evaluation.suites"] = suites
    return edit(tiny(), changed)


def documents(count: int, seed: int = 0) -> str:
    """`count` different documents of 24 words as blocks between blank lines."""
    rows = (" ".join(f"w{(seed * 7919 + i * 31 + j * j) % 997}" for j in range(24)) for i in range(count))
    return "\n\n".join(f"{seed} {i} {row}" for i, row in enumerate(rows)) + "\n"


def first_source(resolved: Recipe) -> BabyLMSource:
    """The first source, which is one of files."""
    found = resolved.corpus.sources[0]
    assert isinstance(found, BabyLMSource)
    return found


def file_suites(resolved: Recipe) -> list[BabyLMSuite]:
    """The suites that come from files."""
    return [suite for suite in resolved.evaluation.suites if isinstance(suite, BabyLMSuite)]


def texts(count: int, seed: int = 0) -> list[str]:
    """The documents of `documents`, one by one."""
    return documents(count, seed).strip().split("\n\n")


def build_corpus(run_stage: Any, resolved: Recipe) -> Path:
    """The directory of the recipe's corpus stage."""
    stage = lower(resolved, REPLICATE).roles["corpus"]
    directory: Path = run_stage("corpus", stage.params, {}, stage.locations)
    return directory


def held(directory: Path, split: str) -> list[str]:
    """The texts of a split of a corpus directory."""
    return [text for _, _, text in read_documents(directory, split)]


def faults(*arguments: Any) -> tuple[str, ...]:
    """Why a recipe cannot be resolved."""
    with pytest.raises(InputError) as caught:
        resolve_recipe(*arguments)
    return caught.value.faults
