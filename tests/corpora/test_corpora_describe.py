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


def suite(folder: Path, items: Mapping[str, Sequence[Mapping[str, Any]]], encrypted: Sequence[str] = ()) -> Path:
    """A suite directory with one task in every suite; encrypted ones hold ids alone."""
    about: dict[str, Any] = {name: {"tasks": {"all": len(rows)}} for name, rows in items.items()}
    about |= {name: {"tasks": {"all": 1}, "encrypted": "0" * 64} for name in encrypted}
    for name in about:
        (folder / name).mkdir(parents=True)
        rows = items.get(name, [{"id": f"{name}/all/0"}])
        (folder / name / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder.mkdir(exist_ok=True)
    (folder / "result.json").write_text(json.dumps({"suites": about}))
    return folder


def described(
    run_stage: Any, generated: Path, real: Path, seeds: Sequence[int], asked: Path | None = None
) -> dict[str, Any]:
    asked = asked or suite(generated.parent / f"{generated.name}-suite", {})
    directory = run_stage("describe", {"world_seeds": list(seeds)}, {"corpus": generated, "real": real, "suite": asked})
    result: dict[str, Any] = json.loads((directory / "result.json").read_text())
    return result


def test_statistics_of_a_small_corpus(run_stage: Any, tmp_path: Path) -> None:
    generated = corpus(tmp_path / "generated", {"train": ["a b a b", "a b c d", f"{RUN} and on"]})
    real = corpus(tmp_path / "real", {"train": ["nothing", f"so {RUN}"], "seed": ["short"]})
    assert described(run_stage, generated, real, []) == {
        "documents": 3,
        "words": 24,
        "mean_words": 8.0,
        "lengths": {"min": 4, "p05": 4, "p25": 4, "median": 4, "p75": 16, "p95": 16, "max": 16},
        "length_histogram": {"edges": list(range(18)), "documents": [0, 0, 0, 0, 2, *[0] * 11, 1]},
        "distinct_1": 20 / 24,  # a b c d and 16 others
        "distinct_2": 19 / 21,  # ab (3 times), ba, bc, cd and 15 others
        "distinct_3": 18 / 18,
        "overlap": {"train": 2 / 4, "seed": 0.0},
        "overlap_13gram": 2 / 4,
        "evaluation_13gram": None,
        "evaluation": {},
        "unread": [],
        "consistency": None,
    }


def test_text_copied_from_a_prompt_counts_as_overlap(run_stage: Any, tmp_path: Path) -> None:
    generated = corpus(tmp_path / "generated", {"train": [RUN]})
    real = corpus(tmp_path / "real", {"train": ["nothing"], "seed": [RUN]})
    result = described(run_stage, generated, real, [])
    assert (result["overlap"], result["overlap_13gram"]) == ({"train": 0.0, "seed": 1.0}, 1.0)


def test_evaluation_text_in_a_corpus_is_counted_suite_by_suite(run_stage: Any, tmp_path: Path) -> None:
    words = RUN.split()
    asked = suite(
        tmp_path / "suite",
        {
            "seen": [{"context": " ".join(words[:7]), "options": [" ".join(words[7:]), "something else"]}],
            "half": [{"context": "", "options": [RUN]}, {"context": "", "options": [RUN.replace("x", "y")]}],
            "short": [{"context": "a b", "options": ["c", "d"]}],
        },
        encrypted=["secret"],
    )
    generated = corpus(tmp_path / "generated", {"train": ["short text", f"{RUN} and on"]})
    real = corpus(tmp_path / "real", {"train": ["nothing"], "seed": ["short"]})
    result = described(run_stage, generated, real, [], asked)
    assert result["evaluation"] == {
        "seen": {"ngrams": 2, "held": 1.0},
        "half": {"ngrams": 4, "held": 0.5},
        "short": {"ngrams": 0, "held": None},
    }
    assert result["evaluation_13gram"] == 4 / 6
    assert result["unread"] == ["secret"]


def test_the_real_corpus_is_compared_with_its_prompts_and_not_with_itself(run_stage: Any, tmp_path: Path) -> None:
    real = corpus(tmp_path / "real", {"train": [RUN, "one two"], "seed": [RUN.replace("x0", "z")]})
    result = described(run_stage, real, real, [])
    assert (result["overlap"], result["overlap_13gram"]) == ({"train": None, "seed": 1 / 2}, None)


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


def samples(run_stage: Any, made: Path, real: Path) -> list[dict[str, str]]:
    asked = suite(made.parent / f"{made.name}-suite", {})
    directory = run_stage("describe", {"world_seeds": []}, {"corpus": made, "real": real, "suite": asked})
    found: list[dict[str, str]] = json.loads((directory / "samples.json").read_text(encoding="utf-8"))
    return found


def test_the_first_texts_are_kept_for_people(run_stage: Any, tmp_path: Path) -> None:
    texts = [f"text {i} with ünïcode" for i in range(20)]
    real = corpus(tmp_path / "real", {"train": texts, "seed": ["more"]})
    assert samples(run_stage, real, real) == [{"id": f"train/{i}", "text": texts[i]} for i in range(SAMPLES)]


def test_all_that_came_of_the_first_sequences_is_kept(run_stage: Any, tmp_path: Path) -> None:
    parts = [(sequence, part) for sequence in range(20) for part in range(sequence % 3)]  # some sequences gave nothing
    (tmp_path / "made").mkdir()
    with DocumentWriter(tmp_path / "made" / "train.parquet") as writer:
        for sequence, part in parts:
            writer.write(Document(f"{sequence}/{part}", "synthetic", f"text {sequence} {part}"))
    real = corpus(tmp_path / "real", {"train": ["text"], "seed": ["more"]})
    kept = [f"{sequence}/{part}" for sequence, part in parts if sequence <= 11]
    assert [sample["id"] for sample in samples(run_stage, tmp_path / "made", real)] == kept
