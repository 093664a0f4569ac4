"""Recipes and texts that the tests of corpora share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ablab.spec import BabyLMSource, BabyLMSuite, Recipe, edit
from experiments.scales import tiny

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
