"""What is said of a generated corpus is what a count by hand gives."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ablab.corpora import microworld
from ablab.corpora.describe import SAMPLES
from ablab.corpora.documents import Document
from ablab.corpora.streams import DocumentWriter

RUN = " ".join(f"x{i}" for i in range(14))  # 2 13-grams


def corpus(folder: Path, splits: Mapping[str, Sequence[str]]) -> Path:
    folder.mkdir()
    for split, texts in splits.items():
        with DocumentWriter(folder / f"{split}.parquet") as writer:
            for index, text in enumerate(texts):
                writer.write(Document(f"{split}/{index}", "synthetic", text))
    return folder


def described(run_stage: Any, generated: Path, real: Path, seeds: Sequence[int]) -> dict[str, Any]:
    directory = run_stage("describe", {"world_seeds": list(seeds)}, {"corpus": generated, "real": real})
    result: dict[str, Any] = json.loads((directory / "result.json").read_text())
    return result


def test_statistics_of_a_small_corpus(run_stage: Any, tmp_path: Path) -> None:
    generated = corpus(tmp_path / "generated", {"train": ["a b a b", "a b c d", f"{RUN} and on"]})
    real = corpus(tmp_path / "real", {"train": ["nothing", f"so {RUN}"], "seed": ["short"]})
    assert described(run_stage, generated, real, []) == {
        "documents": 3,
        "words": 24,
        "mean_words": 8.0,
        "distinct_1": 20 / 24,  # a b c d and 16 others
        "distinct_2": 19 / 21,  # ab (3 times), ba, bc, cd and 15 others
        "distinct_3": 18 / 18,
        "overlap_13gram": 2 / 4,
        "consistency": None,
    }


def test_text_copied_from_a_prompt_counts_as_overlap(run_stage: Any, tmp_path: Path) -> None:
    generated = corpus(tmp_path / "generated", {"train": [RUN]})
    real = corpus(tmp_path / "real", {"train": ["nothing"], "seed": [RUN]})
    assert described(run_stage, generated, real, [])["overlap_13gram"] == 1.0


def test_an_empty_corpus_can_be_described(run_stage: Any, tmp_path: Path) -> None:
    generated = corpus(tmp_path / "generated", {"train": []})
    real = corpus(tmp_path / "real", {"train": ["text"], "seed": ["more"]})
    result = described(run_stage, generated, real, [1])
    assert (result["documents"], result["mean_words"], result["distinct_1"], result["overlap_13gram"]) == (0, 0, 0, 0)
    assert result["consistency"] == {"statements": 0, "true": 0, "rate": None}


def test_stories_of_the_world_itself_are_consistent_and_those_of_another_world_less(
    run_stage: Any, tmp_path: Path
) -> None:
    real = corpus(tmp_path / "real", {"train": ["text"], "seed": ["more"]})
    own = corpus(tmp_path / "own", {"train": list(microworld.documents(1, 3_000, "test"))})
    other = corpus(tmp_path / "other", {"train": list(microworld.documents(2, 3_000, "test"))})
    assert described(run_stage, own, real, [1])["consistency"]["rate"] == 1.0
    assert described(run_stage, other, real, [1])["consistency"]["rate"] < 0.9


def test_with_two_worlds_every_story_is_judged_by_the_one_it_fits(run_stage: Any, tmp_path: Path) -> None:
    real = corpus(tmp_path / "real", {"train": ["text"], "seed": ["more"]})
    stories = [story for seed in (1, 2) for story in microworld.documents(seed, 2_000, "test")]
    mixed = corpus(tmp_path / "mixed", {"train": stories})
    both = described(run_stage, mixed, real, [1, 2])["consistency"]
    assert both["rate"] == 1.0
    assert both["statements"] == pytest.approx(
        sum(microworld.consistency(seed, microworld.documents(seed, 2_000, "test")).statements for seed in (1, 2)),
        rel=0.05,
    )


def test_the_first_texts_are_kept_for_people(run_stage: Any, tmp_path: Path) -> None:
    texts = [f"text {i} with ünïcode" for i in range(20)]
    inputs = {
        "corpus": corpus(tmp_path / "generated", {"train": texts}),
        "real": corpus(tmp_path / "real", {"train": ["text"], "seed": ["more"]}),
    }
    directory = run_stage("describe", {"world_seeds": []}, inputs)
    samples = json.loads((directory / "samples.json").read_text(encoding="utf-8"))
    assert samples == [{"id": f"train/{i}", "text": texts[i]} for i in range(SAMPLES)]
