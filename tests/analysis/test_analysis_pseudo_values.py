"""Items without right answers that have pseudo-values: these stand where answers stand."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from ablab.analysis import ArmResults, Effect, compare, load_result, paired_effect
from ablab.analysis.claims import judge
from ablab.analysis.comparable import check_comparable
from ablab.analysis.power import power_of
from ablab.analysis.weighing import score
from ablab.errors import InputError
from ablab.spec import Claim, Design

Write = Callable[..., Path]
Answers = Callable[..., Any]
Values = Mapping[str, Sequence[float]]
WORDS, READ = 40, 30


def evaluated(write: Write, answers: Any, values: Values, clusters: Mapping[str, int] | None = None) -> Path:
    """An evaluation with these pseudo-values by suite, whose scores are their means. clusters: rows of each."""
    folder = write(answers, unjudged={name: 100.0 * float(np.mean(of)) for name, of in values.items()})
    held = pq.read_table(folder / "items.parquet").to_pylist()
    rows = [row for row in held if row["suite"] not in values]
    for name, of in values.items():
        first = next(row for row in held if row["suite"] == name)
        size = (clusters or {}).get(name, 1)
        for i, value in enumerate(of):
            shared = {"item": f"{name}/all/{i}", "cluster": f"{name}/all#{i // size}", "pseudo_value": value}
            rows.append(first | shared)
    rows = [{"cluster": row["item"], "pseudo_value": None} | row for row in rows]
    types = {"correct": pa.bool_(), "pseudo_value": pa.float64()}
    table = pa.Table.from_pylist(rows)
    schema = pa.schema([pa.field(f.name, types.get(f.name, f.type)) for f in table.schema])
    pq.write_table(table.cast(schema), folder / "items.parquet")
    return folder


def drawn(seed: int, shift: float = 0.0) -> Values:
    """Pseudo-values of a model; words differ in the same way for all models of an arm."""
    words, own = np.random.default_rng(round(100 * shift)), np.random.default_rng(seed)
    return {
        "wug": 0.5 + shift + words.normal(0.0, 0.4, WORDS) + own.normal(0.0, 0.2, WORDS),
        "reading": 0.005 + shift / 100 + words.normal(0.0, 0.01, READ) + own.normal(0.0, 0.002, READ),
    }


@pytest.fixture
def folders(write_result: Write, random_answers: Answers) -> dict[str, list[Path]]:
    return {
        name: [
            evaluated(write_result, random_answers(10 * at + i, shift), drawn(10 * at + i, shift), {"reading": 5})
            for i in range(3)
        ]
        for at, (name, shift) in enumerate({"mixed": 0.3, "real": 0.0}.items())
    }


@pytest.fixture
def arms(folders: Mapping[str, Sequence[Path]]) -> tuple[ArmResults, ArmResults]:
    one, other = (ArmResults(name, tuple(map(load_result, of))) for name, of in folders.items())
    return one, other


def effect(arms: tuple[ArmResults, ArmResults], metric: str, replicates: int = 3) -> Effect:
    one, other = (ArmResults(arm.arm, arm.replicates[:replicates]) for arm in arms)
    found = paired_effect(one, other, metric)
    assert found is not None
    return found


@pytest.mark.parametrize("metric", ["wug", "reading", "reasoning", "human-likeness", "aggregate"])
def test_intervals_speak_of_new_items_and_replicates_and_estimates_stay_differences_of_scores(
    arms: tuple[ArmResults, ArmResults], metric: str
) -> None:
    found = effect(arms, metric)
    assert found.interval is not None and found.these_items is not None
    assert found.interval.inference == "new items and replicates"
    assert found.interval.se > found.these_items.se, "words that react make it wider"
    scores = [[score(result, metric) for result in arm.replicates if result is not None] for arm in arms]
    changes = np.subtract(*scores)
    assert found.estimate == pytest.approx(np.mean(changes), abs=1e-9)
    assert found.item_sd is not None and found.item_sd > 0.0
    assert (found.cohens_h, found.study_low, found.study_high) == (None, None, None)


def test_of_one_replicate_p_is_that_of_t_over_words_or_sentences_and_never_mcnemars(
    arms: tuple[ArmResults, ArmResults],
) -> None:
    words, sentences = effect(arms, "wug", 1), effect(arms, "reading", 1)
    assert (words.test, sentences.test) == ("t over items", "t over clusters")
    one, other = arms[0].replicates[0], arms[1].replicates[0]
    assert one is not None and other is not None and words.interval is not None and sentences.interval is not None
    changes = 100.0 * (one.answers - other.answers)
    of_words = changes[one.suites == "wug"]
    assert words.interval.se == pytest.approx(stats.sem(of_words))
    assert words.p == pytest.approx(stats.ttest_1samp(of_words, 0.0).pvalue)
    of_sentences = [changes[one.clusters == c].sum() for c in np.unique(one.clusters[one.suites == "reading"])]
    assert len(of_sentences) == READ // 5
    assert sentences.interval.se == pytest.approx(stats.sem(of_sentences) * len(of_sentences) / READ)
    assert effect(arms, "entity_tracking", 1).test == "exact McNemar"


def test_a_claim_about_people_is_judged_from_one_replicate_and_power_knows_what_items_leave(
    arms: tuple[ArmResults, ArmResults], make_claim: Callable[..., Claim]
) -> None:
    (judged,) = judge([make_claim(metric="human-likeness")], [effect(arms, "human-likeness", 1)], 1)
    assert judged.p is not None
    assert "no interval" not in judged.words
    power = power_of(effect(arms, "wug"), 5.0)
    assert power is not None and power.limit > 0.0


def test_a_note_says_how_such_items_count(
    folders: Mapping[str, Sequence[Path]], make_design: Callable[..., Design]
) -> None:
    found = compare(make_design([(s, s) for s in (1, 2, 3)]), folders)
    assert any("no answer of wug (spearman), reading (r2-increment) is right or wrong" in note for note in found.notes)
    assert any("reading (30 rows, 6 clusters)" in note for note in found.notes)
    assert {metric.name: metric.items for metric in found.metrics}["wug"] == WORDS


def test_values_that_do_not_give_the_score_are_refused(write_result: Write, random_answers: Answers) -> None:
    folder = evaluated(write_result, random_answers(1), drawn(1))
    result = json.loads((folder / "result.json").read_text())
    entry = result["suites"]["wug"]
    entry["score"] = entry["tasks"]["all"]["score"] = entry["score"] + 0.5
    (folder / "result.json").write_text(json.dumps(result))
    with pytest.raises(InputError, match=r"wug/all: the score is .*, its items give"):
        load_result(folder)


def test_what_was_scored_without_values_is_not_compared_with_what_has_them(arms: tuple[ArmResults, ArmResults]) -> None:
    new = arms[0].replicates[0]
    assert new is not None
    old = replace(new, without_items=frozenset({"wug"}))
    with pytest.raises(
        InputError, match=r"no stored values differ \(none and wug\)|no stored values differ \(wug and none\)"
    ):
        check_comparable([("new", new), ("old", old)])
