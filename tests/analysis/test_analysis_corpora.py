"""Pages of corpora: what the stages hold is shown as it is, escaped, side by side."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ablab.analysis.apart import arms_apart
from ablab.analysis.corpora import MEASURES, corpora_table, corpus_rows, identical_corpora, shrunk_sources
from ablab.analysis.report import corpora_page, corpus_page
from ablab.analysis.report.alike import alike_table, apart_table
from ablab.analysis.report.contents import NOTHING
from ablab.analysis.report.corpora import REAL, columns
from ablab.analysis.report.corpus_figures import _density
from ablab.spec import Lowered, Stage
from ablab.spec.manipulation import distribution, distributions, manipulations
from ablab.spec.placement import Numerics
from ablab.store import Store
from ablab.store.executions import Roles

HOSTILE = '<script>alert("x")</script></pre><img src=x onerror=alert(1)>'
CORPUS = Stage("corpus", {"of": "the world"})
SUITE = Stage("suite", {"suites": []})
TOKENIZER = Stage("tokenizer", {"vocab_size": 300}, {"corpus": CORPUS})


def put(store: Store, stage: Stage, result: dict[str, Any], files: Mapping[str, Any] | None = None) -> tuple[str, str]:
    attempt = store.begin(stage.kind, stage.key, Numerics())
    assert attempt is not None
    for name, content in (files or {}).items():
        (attempt.out / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    store.commit(attempt, stage.identity, result, {})
    return stage.kind, stage.key


def description(words: int, overlap: float | None) -> dict[str, Any]:
    return {
        "documents": 4,
        "words": 4 * words,
        "mean_words": float(words),
        "lengths": {"median": words},
        "length_histogram": {"edges": [0, 1, 2, 4, 8], "documents": [0, 1, 1, 2]},
        "distinct_1": 0.5,
        "distinct_2": 0.75,
        "distinct_3": 1.0,
        "overlap": {"train": overlap, "seed": 0.125},
        "overlap_13gram": overlap,
        "evaluation_13gram": 0.25,
        "evaluation": {"long <b>": {"ngrams": 8, "held": 0.25}, "short": {"ngrams": 0, "held": None}},
        "unread": ["ewok"],
        "consistency": {"statements": 4, "true": 3, "rate": 0.75},
    }


def generated(
    store: Store, seed: int, strength: float, texts: Sequence[tuple[str, str]], **by_step: list[Any]
) -> dict[str, tuple[str, str]]:
    """A generate and a describe stage, by role."""
    params = {"generation_seed": seed, "decoding": {"strength": strength}, "prompts": {"tokens": 1, "new_tokens": 2}}
    stage = Stage("generate", params, {"corpus": CORPUS, "tokenizer": TOKENIZER})
    new = [[5, 6], [5, 7], [8, 6], [8, 8]] if strength else [[5, 6]] * 4
    words = np.array([[seed, *words] for words in new], "<u2").tobytes()
    steps: dict[str, Any] = {"sampled": [4, 4], "head_size": [10.0 * seed, 20.0], "argmax_changed": None}
    steps |= {"kl_good_nats": [0.5, None]} | by_step
    result = {"tokens": 8, "head_size_mean": 15.0, "argmax_changed": None, "kl_good_nats": 0.5, "compression": 2.0}
    result |= {"probe": {"from_good": 0.5, "from_masked": 0.25, "good_from_bad": 0.125}, "dtype": "uint16"}
    result |= {"repeated_4grams": 0.0, "good_step": 20, "bad_step": None, "sequences": 4, "prompts": 2}
    made = put(
        store,
        stage,
        result | {"duplicates_removed": 0},
        {"steps.json": steps, "sequences.bin": words, "train.parquet": texts[0][1].encode()},
    )
    described = Stage("describe", {"world_seeds": []}, {"corpus": stage, "real": CORPUS, "suite": SUITE})
    samples = [{"id": name, "text": text} for name, text in texts]
    return {"generate": made, "describe": put(store, described, description(seed, 0.5), {"samples.json": samples})}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def roles(store: Store) -> Roles:
    """`one` and `same` share two corpora, `other` has one, `real` has none."""
    corpus = put(store, CORPUS, {"overlap": {"test": 0.5}})
    stage = Stage("describe", {"world_seeds": []}, {"corpus": CORPUS, "real": CORPUS, "suite": SUITE})
    real = put(store, stage, description(9, None), {"samples.json": [{"id": "world/0", "text": "Real."}]})
    shared = {"corpus": corpus, "real_describe": real}
    first = generated(store, 1, 0.0, [("0/0", f"The cat {HOSTILE}"), ("0/1", "and on"), ("2/0", "Two.")])
    second = generated(store, 3, 0.0, [("0/0", "unseen")])
    other = generated(store, 1, 1.0, [("0/0", "The cart"), ("1/0", "One.")])
    return {
        "real": [shared, shared],
        "one": [shared | first, shared | second],
        "same": [shared | first, shared | second],
        "other": [shared | other, shared | other],
    }


def test_every_different_corpus_of_an_arm_counts_once(store: Store, roles: Roles) -> None:
    rows = {row.arm: row for row in corpus_rows(list(roles), roles, store)}
    assert {arm: row.corpora for arm, row in rows.items()} == {"one": 2, "same": 2, "other": 1}
    assert rows["one"].numbers["mean_words"] == 2.0
    assert rows["other"].numbers["mean_words"] == 1.0
    assert list(rows["one"].numbers) == [name for name in MEASURES if name != "argmax_changed"]
    assert [row["held_out_overlap"] for row in corpora_table(roles, store)] == [{"test": 0.5}] * 3


def test_arms_are_compared_up_to_the_first_word_that_differs(store: Store, roles: Roles) -> None:
    table = alike_table(list(roles), roles, store)
    assert table is not None
    assert table.rows == (("one, same", "other", "37.5 %", "25.0 %"),)  # the second replicate has another seed
    assert alike_table(["one", "same"], roles, store) is None


def test_distances_are_told_by_the_arms_that_draw_and_as_means_over_replicates(store: Store) -> None:
    """`one` and `same` differ in what is kept of their texts; the second replicate has a GOOD of its own."""
    roles: dict[str, list[dict[str, tuple[str, str]]]] = {name: [] for name in ("one", "same", "other", "real")}
    for seed, distance in ((1, 0.25), (2, 0.75)):
        made = checked_generations(store, seed, distance)
        for arm in roles:
            roles[arm].append({"generate": made[arm], "manipulation": made["check"]} if arm in made else {})
    (apart,) = arms_apart(list(roles), roles, store)
    assert (apart.arms, apart.others) == (("one", "same"), ("other",))
    assert apart.total_variation == 0.5
    turned = arms_apart(["other", "one"], roles, store)[0]
    assert (turned.arms, turned.kl_nats) == (("other",), apart.kl_nats[::-1])
    assert sorted(apart.kl_nats, key=str) == [1.5, None]
    table = apart_table([apart])
    assert table is not None
    assert table.rows[0][:3] == ("one, same", "other", "0.5000")
    assert sorted(table.rows[0][3:]) == ["1.5000", NOTHING]
    assert arms_apart(["one", "same"], roles, store) == ()
    gone = {arm: [{"generate": one["generate"]} for one in of if one] for arm, of in roles.items()}
    assert arms_apart(list(gone), gone, store) == ()


def checked_generations(store: Store, seed: int, distance: float) -> dict[str, tuple[str, str]]:
    """Three generations from one GOOD, of two distributions, and the check between them."""
    good = Stage("train", {"train_seed": seed})
    models = {"good": good, "select": Stage("select", {}, {"train": good})}

    def generation(alpha: float, keep_prompt: bool) -> Stage:
        params = {"bad": None, "decoding": {"alpha": alpha, "keep_prompt": keep_prompt, "stop_at_eos": False}}
        return Stage("generate", params | {"precision": "fp32"}, models | {"corpus": CORPUS, "tokenizer": TOKENIZER})

    stages = {"one": generation(0.0, True), "same": generation(0.0, False), "other": generation(0.1, True)}
    check = next(iter(manipulations([Lowered({"generate": stage}) for stage in stages.values()]).values()))
    of_one = distributions(check.identity).index(distribution(stages["one"].identity))
    to_other = [1.5, None] if of_one == 0 else [None, 1.5]
    result = {"pairs": [{"of": [0, 1], "total_variation": distance, "kl_nats": to_other}]}
    return {name: put(store, stage, {}) for name, stage in stages.items()} | {"check": put(store, check, result)}


def test_different_generations_of_equal_words_and_text_are_identical(store: Store) -> None:
    one, two = generated(store, 1, 0.5, [("0/0", "a")]), generated(store, 1, 1.0, [("0/0", "a")])
    other_text, other_words = generated(store, 1, 2.0, [("0/0", "b")]), generated(store, 3, 1.0, [("0/0", "a")])
    roles = {"one": [one], "two": [two], "same": [one], "text": [other_text], "words": [other_words], "real": [{}]}
    assert set(identical_corpora(roles, store)) == {frozenset({"one", "two"}), frozenset({"two", "same"})}
    assert identical_corpora({"one": [one, {}], "two": [{}, two]}, store) == []  # of different replicates


def test_arms_that_share_their_corpora_are_one_column_behind_the_real_text(store: Store, roles: Roles) -> None:
    real, one, other = columns(list(roles), roles, store)
    assert [column.name for column in (real, one, other)] == [REAL, "one, same", "other"]
    head = one.steps["head_size"]
    assert (head.x, head.mean, head.low, head.high) == ((0.0, 1.0), (20.0, 20.0), (10.0, 20.0), (30.0, 20.0))
    assert (one.steps["kl_good_nats"].x, "argmax_changed" in one.steps) == ((0.0,), False)
    assert (one.declared["generation_seed"], other.declared["generation_seed"]) == ("1, 3", "1")
    assert one.samples.texts == (f"The cat {HOSTILE}\n\nand on", "", "Two.")
    assert one.held["all suites"] == (8, 0.25)
    assert real.steps == {}
    assert "overlap_train" not in real.row.numbers


def test_corpora_whose_texts_stop_early_are_measured_at_steps_of_their_own(store: Store) -> None:
    texts = [("0/0", "Text.")]
    one = generated(store, 1, 0.0, texts, sampled=[4, 1, 1], head_size=[9.0, 2.0, 4.0], kl_good_nats=[0.5, None, 0.25])
    two = generated(store, 3, 0.0, texts, sampled=[4, 1, 0], head_size=[3.0, 2.0, None], kl_good_nats=[1.5, 1.0, None])
    (column,) = columns(["early"], {"early": [one, two]}, store)
    head, kl = column.steps["head_size"], column.steps["kl_good_nats"]
    assert (head.x, head.mean, head.low) == ((0.0, 1.0, 2.0), (6.0, 2.0, 4.0), (3.0, 2.0, 4.0))
    assert (kl.x, kl.mean, kl.high) == ((0.0, 1.0, 2.0), (1.0, 1.0, 0.25), (1.5, 1.0, 0.25))


def test_texts_of_one_prompt_stand_next_to_each_other_and_are_never_elements(
    store: Store, roles: Roles, tmp_path: Path
) -> None:
    page, *figures = corpora_page("demo@1 tiny", HOSTILE, list(roles), roles, store, tmp_path)
    html = page.read_text("utf-8")
    assert "<script" not in html
    assert "<img src=x" not in html
    assert "long <b>" not in html
    assert "default-src 'none'" in html
    assert not re.search(r'(src|href)="(?!data:|#)', html)
    assert "<strong>The ca</strong>t &lt;script&gt;" in html
    assert "<strong>The ca</strong>rt" in html
    assert html.index("Sequence 0") < html.index("Sequence 1") < html.index("Sequence 2")
    assert "nothing is known of their overlap: ewok." in html
    assert "probe: distance from GOOD" in html
    assert "words before the first difference" in html
    assert [path.name for path in figures if path.suffix == ".png"] == ["corpus-steps.png", "corpus-lengths.png"]


def test_a_corpus_has_a_page_with_its_manifest(store: Store, roles: Roles, tmp_path: Path) -> None:
    kind, key = roles["other"][0]["generate"]
    page, *_ = corpus_page(roles["other"][0]["describe"][1], "describe · other r1", store, tmp_path)
    html = page.read_text("utf-8")
    assert key in html
    assert f"SHA-256 {store.manifest(kind, key)['files']['steps.json']['sha256']}" in html
    real, *_ = corpus_page(roles["real"][0]["real_describe"][1], "real_describe", store, tmp_path)
    assert "Real." in real.read_text("utf-8")


def test_the_same_stages_give_the_same_bytes(store: Store, roles: Roles, tmp_path: Path) -> None:
    one, two = (corpora_page("demo", "?", list(roles), roles, store, tmp_path / name) for name in "ab")
    assert [hashlib.sha256(p.read_bytes()).hexdigest() for p in one] == [
        hashlib.sha256(p.read_bytes()).hexdigest() for p in two
    ]


def test_without_described_corpora_there_is_no_page(store: Store, tmp_path: Path) -> None:
    assert corpora_page("demo", "?", ["real"], {"real": [{}]}, store, tmp_path) == ()
    assert list(tmp_path.iterdir()) == []


def test_the_area_of_a_length_is_its_share_of_the_documents() -> None:
    x, height = _density({0: 0.0, 1: 0.0, 2: 0.25, 4: 0.75, 16: 0.0, 32: 0.0})
    assert (x, height) == ([2.0, 2.0, 4.0, 16.0], [0.0, 0.25, 0.375, 0.0])
    assert _density({0: 0.0, 1: 0.0}) == ([], [])


def test_a_source_that_duplicates_shrink_below_its_stated_words_is_said(store: Store) -> None:
    sources = [
        {"kind": "babylm", "name": "copied", "words": 1_000, "evaluation_words": None},
        {"kind": "microworld", "name": "world", "words": 1_000, "validation_words": 100, "test_words": 100},
    ]
    words = {
        "copied": {"train": 300, "seed": 100, "validation": 7, "test": 7},
        "world": {"train": 900, "seed": 60, "validation": 100, "test": 50},
    }
    result = {
        "duplicates_removed": 1_234,
        "sources": {name: {split: {"words": n} for split, n in of.items()} for name, of in words.items()},
    }
    one = put(store, Stage("corpus", {"sources": sources}), result)
    clean = put(store, Stage("corpus", {"sources": sources[:1]}), result | {"duplicates_removed": 0})
    again = "(the corpus held 1,234 documents again)"
    assert shrunk_sources({"a": [{"corpus": one}, {"corpus": one}], "b": [{"corpus": clean}]}, store) == [
        f"corpus source 'copied': of the 1,000 train words that it states, duplicates left 400 {again}",
        f"corpus source 'world': of the 100 test words that it states, duplicates left 50 {again}",
    ]
