"""Every task of the BabyLM evaluation agrees with a scorer that knows nothing of ablab: one text at a time, no lm-eval.

The scorer follows the public pipeline: `transformers` alone tokenizes and predicts; nothing is batched or padded.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from babylm_helper import PASSWORD, SUITES, ewok_rows, reading_rows, suite, write_layout
from scipy.stats import rankdata
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from ablab.analysis import ArmResults, load_result, paired_effect
from ablab.corpora.filecheck import FactCache
from ablab.corpora.resolve_suites import resolve_suites
from ablab.corpora.suites import build_suite
from ablab.errors import RunError
from ablab.evaluate import harness
from ablab.evaluate.floor import evaluate_floor
from ablab.evaluate.stage import evaluate
from ablab.spec.base import build
from ablab.spec.suites import BabyLMSuite
from ablab.store.context import StageContext
from experiments.babylm_suites import full

Fresh = Callable[..., StageContext]
Item = Mapping[str, Any]


class Reference:
    """log p of a completion after a prefix, and of a word as the pipeline reads it."""

    def __init__(self, checkpoint: Path, tokenizer: Path) -> None:
        self.model = LlamaForCausalLM.from_pretrained(checkpoint).eval()
        self.tokenizer = PreTrainedTokenizerFast.from_pretrained(tokenizer)

    @torch.no_grad()
    def next_token(self, ids: list[int], token: int) -> float:
        return float(self.model(torch.tensor([ids])).logits[0, -1].double().log_softmax(-1)[token])

    @torch.no_grad()
    def completion(self, prefix: str, completion: str) -> float:
        encoded = self.tokenizer(prefix + completion, return_offsets_mapping=True)
        ids = encoded["input_ids"]
        log_probs = self.model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        scored = [i for i, (_, end) in enumerate(encoded["offset_mapping"]) if end > len(prefix)]
        return sum(float(log_probs[i - 1, ids[i]]) for i in scored)

    def word(self, context: str, word: str) -> float:
        """Its tokens without a space before it; each is predicted from all text so far, tokenized again."""
        total, text = 0.0, context
        for place, token in enumerate(self.tokenizer(word, add_special_tokens=False)["input_ids"]):
            piece = self.tokenizer.decode(token)
            target = token if place == 0 else self.tokenizer(piece, add_special_tokens=False)["input_ids"][0]
            total += self.next_token(self.tokenizer(text)["input_ids"], target)
            text += piece
        return total


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ABLAB_EWOK_PASSWORD", PASSWORD)
    return write_layout(tmp_path / "data")


@pytest.fixture(autouse=True)
def wide(world: Any) -> None:
    """A model whose context fits every made-up text."""
    if not (world.root / "train-wide").exists():
        world.checkpoint("train-wide", seed=1, context=96)


def prepared(fresh: Fresh, data: Path, *suites: dict[str, Any], **names: Any) -> StageContext:
    """The context of an evaluation of these suites, resolved and built as a run does it."""
    resolved, faults = resolve_suites([build(BabyLMSuite, one) for one in suites], data, FactCache(None))
    assert not faults
    locations: dict[str, Path] = {}
    zips: dict[str, Path] = {}
    for one in resolved:
        assert isinstance(one, BabyLMSuite)
        for file, digest in one.digests.items():
            locations[digest] = Path(one.path) if one.task == "ewok" else Path(one.path) / file
            zips |= {digest: locations[digest]} if one.task == "ewok" else {}
    made = fresh({"suites": [json.loads(json.dumps(one.canonical())) for one in resolved]})
    result = build_suite(replace(made, locations=locations))
    (made.out / "result.json").write_text(json.dumps(result), encoding="utf-8")
    return fresh(suite=made.out.name, locations=zips, **{"train": "train-wide", **names})


def reference(world: Any, ctx: StageContext) -> Reference:
    return Reference(ctx.inputs["train"] / "checkpoints" / "step-00000004", world.root / "tokenizer")


def items_of(ctx: StageContext) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(ctx.out / "items.parquet").to_pylist()
    return rows


def json_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def mean(values: Any) -> float:
    return float(np.mean(list(values)))


def test_entity_tracking_is_the_mean_over_splits_of_the_mean_over_levels(world: Any, fresh: Fresh, data: Path) -> None:
    ctx = prepared(fresh, data, suite("entity"))
    result, scorer = evaluate(ctx)["suites"]["entity"], reference(world, ctx)
    found = {item["item"]: item for item in items_of(ctx)}
    splits = []
    for split in ("regular", "ambiref", "move_contents"):
        levels: dict[int, list[bool]] = {}
        for row in json_rows(data / "entity" / f"{split}.jsonl"):
            scores = [scorer.completion(row["input_prefix"], option) for option in row["options"]]
            of_level = levels.setdefault(row["numops"], [])
            item = found.pop(f"entity/{split}_{row['numops']}_ops/{len(of_level)}")
            assert item["log_probs"] == pytest.approx(scores, abs=1e-4)
            assert item["correct"] == (int(np.argmax(scores)) == 0) and item["value"] is None
            of_level.append(item["correct"])
            assert item["cluster"] == f"entity/{split}#{row['sample_id']}"
        splits.append(mean(mean(level) for level in levels.values()))
        tasks = [result["tasks"][f"{split}_{level}_ops"]["score"] for level in levels]
        assert tasks == pytest.approx([100 * mean(level) for level in levels.values()])
    assert not found
    assert result["score"] == pytest.approx(100 * mean(splits))
    assert result["score"] != pytest.approx(mean(task["score"] for task in result["tasks"].values()))
    assert list(result["sections"]) == ["ambiref", "move_contents", "regular"]


def test_ewok_asks_which_target_follows_the_first_context(world: Any, fresh: Fresh, data: Path) -> None:
    ctx = prepared(fresh, data, suite("ewok"))
    result, scorer = evaluate(ctx)["suites"]["ewok"], reference(world, ctx)
    found = {item["item"]: item for item in items_of(ctx)}
    domains = []
    for domain, count in (("social-relations", 3), ("agent-properties", 2), ("material-dynamics", 1)):
        right = []
        for number, row in enumerate(ewok_rows(domain, count)):
            scores = [scorer.completion(row["Context1"], " " + row[target]) for target in ("Target1", "Target2")]
            item = found.pop(f"ewok/{domain}/{number}")
            assert item["log_probs"] == pytest.approx(scores, abs=1e-4)
            right.append(item["correct"])
        domains.append(mean(right))
    assert not found and "metric" not in result and "sections" not in result
    assert result["score"] == pytest.approx(100 * mean(domains))


@pytest.mark.parametrize("name", ["wug_adj", "wug_past"])
def test_nonce_words_correlate_p_of_the_first_variant_with_people(
    world: Any, fresh: Fresh, data: Path, name: str
) -> None:
    ctx = prepared(fresh, data, suite(name))
    result, scorer = evaluate(ctx)["suites"][name], reference(world, ctx)
    shares, ratios = [], []
    for row, item in zip(json_rows(data / name / f"{name}.jsonl"), items_of(ctx), strict=True):
        log_probs = torch.tensor([scorer.completion("", text) for text in row["sentences"].split("\t")])
        assert item["log_probs"] == pytest.approx(log_probs.tolist(), abs=1e-4)
        shares.append(float(log_probs.softmax(0)[0]))
        ratios.append(row["ratio"])
        assert item["value"] == pytest.approx(shares[-1], abs=1e-4)
        assert item["correct"] is None and item["prediction"] == int(log_probs.argmax())
    wanted = np.corrcoef(rankdata(shares), rankdata(ratios))[0, 1]
    assert result["score"] == pytest.approx(100 * wanted, abs=1e-9)
    assert (result["metric"], result["chance"]) == ("spearman", None)


def explained(target: list[float], columns: list[list[float]]) -> float:
    """R2 of ordinary least squares with an intercept."""
    design = np.column_stack([np.ones(len(target)), *columns])
    residual = np.array(target) - design @ np.linalg.pinv(design, rcond=1e-13) @ np.array(target)
    return 1.0 - float(residual @ residual) / float(np.sum((np.array(target) - np.mean(target)) ** 2))


def with_products(columns: list[list[float]]) -> list[list[float]]:
    pairs = [(a, b) for i, a in enumerate(columns) for b in columns[i + 1 :]]
    return columns + [[x * y for x, y in zip(a, b, strict=True)] for a, b in pairs]


@pytest.mark.parametrize("leading_space", [False, True])
def test_reading_scores_are_the_share_of_variance_that_surprisal_adds(
    world: Any, fresh: Fresh, data: Path, leading_space: bool
) -> None:
    chosen = [suite(name, leading_space=leading_space) for name in ("eye", "self_paced")]
    ctx = prepared(fresh, data, *chosen)
    result, scorer = evaluate(ctx)["suites"], reference(world, ctx)
    found = {item["item"]: item for item in items_of(ctx)}

    def surprisal(context: str, word: str) -> float:
        return -(scorer.completion(context, " " + word) if leading_space else scorer.word(context, word))

    rows = [row for row in reading_rows(12) if row["Subtlex_log10"] != ""]
    for row in rows:
        row["pred"] = surprisal(row["item"], row["word"])
        item = found.pop(f"eye/reading_data/{row['']}")
        assert item["value"] == pytest.approx(row["pred"], abs=1e-4)
        assert item["correct"] is None and item["prediction"] == 0
    spilled = [row for row in rows if row["prev_item"] not in ("", "None")]
    for row in spilled:
        row["prev_pred"] = surprisal(row["prev_item"], row["prev_word"])
        item = found.pop(f"self_paced/reading_data/{row['']}")
        assert item["log_probs"] == pytest.approx([-row["pred"], -row["prev_pred"]], abs=1e-4)
    assert not found
    controls = ["Subtlex_log10", "length", "context_length"]
    eye = increment(rows, controls, ["RTfirstfix", "RTfirstpass", "RTgopast", "RTrightbound"])
    paced = increment(spilled, [*controls, "prev_length", "prev_pred"], ["self_paced_reading_time"])
    assert result["eye"]["score"] == pytest.approx(eye, abs=0.01)
    assert result["self_paced"]["score"] == pytest.approx(paced, abs=0.01)
    assert result["eye"]["metric"] == "r2-increment" and result["eye"]["chance"] is None


def increment(rows: list[dict[str, Any]], controls: list[str], times: list[str]) -> float:
    base = with_products([[float(row[name]) for row in rows] for name in controls])
    found = []
    for name in times:
        target = [row[name] for row in rows]
        without, full_model = explained(target, base), explained(target, [*base, [row["pred"] for row in rows]])
        found.append(100 * (full_model - without) / (1 - without))
    return mean(found)


def test_a_word_without_its_space_is_scored_otherwise_than_with_it(fresh: Fresh, data: Path) -> None:
    surprisals = []
    for leading_space in (False, True):
        ctx = prepared(fresh, data, suite("eye", leading_space=leading_space))
        evaluate(ctx)
        surprisals.append([item["value"] for item in items_of(ctx)])
    assert all(abs(one - other) > 1e-6 for one, other in zip(*surprisals, strict=True))


def test_words_that_two_suites_share_are_scored_once(fresh: Fresh, data: Path) -> None:
    tokens = []
    for names in (("eye",), ("eye", "self_paced")):
        ctx = prepared(fresh, data, *(suite(name) for name in names))
        evaluate(ctx)
        tokens.append(ctx.costs["tokens"] - 149)  # the held-out stream
    # previous words that are no row of the first suite are those whose own row lacks its frequency
    lacking = sum(1 for row in reading_rows(12) if row["Subtlex_log10"] == "")
    assert tokens[0] < tokens[1] < tokens[0] * (1 + 2.5 * lacking / len(reading_rows(12)))


def test_all_suites_together_score_as_each_alone(fresh: Fresh, data: Path) -> None:
    together = prepared(fresh, data, *(suite(name) for name in SUITES))
    scores = evaluate(together)["suites"]
    assert list(scores) == list(SUITES)
    for name in ("entity", "wug_adj", "self_paced"):
        alone = evaluate(prepared(fresh, data, suite(name)))["suites"][name]
        assert alone["score"] == pytest.approx(scores[name]["score"], abs=0.01)


def test_the_floor_scores_every_suite_and_the_same_inputs_give_the_same_bytes(fresh: Fresh, data: Path) -> None:
    ctx = prepared(fresh, data, *(suite(name) for name in SUITES))
    outs = [replace(ctx, params={"order": 3, "test_tokens": 150}, out=fresh().out) for _ in range(2)]
    one, other = (evaluate_floor(out) for out in outs)
    assert one == other and list(one["suites"]) == list(SUITES)
    assert (outs[0].out / "items.parquet").read_bytes() == (outs[1].out / "items.parquet").read_bytes()
    assert all(math.isfinite(entry["score"]) for entry in one["suites"].values())


def test_the_analysis_reads_every_suite_and_compares_what_it_read(fresh: Fresh, data: Path) -> None:
    ctx = prepared(fresh, data, *(suite(name) for name in SUITES))
    arms = []
    for order in (2, 3):
        out = replace(ctx, params={"order": order, "test_tokens": 150}, out=fresh().out)
        (out.out / "result.json").write_text(json.dumps(evaluate_floor(out)), encoding="utf-8")
        arms.append(ArmResults(str(order), (load_result(out.out),) * 2))
    entries = [arm.replicates[0].scores.values() for arm in arms if arm.replicates[0]]
    changes = [other.score - one.score for one, other in zip(*entries, strict=True)]
    found = paired_effect(arms[1], arms[0], "aggregate")
    assert found is not None
    assert found.estimate == pytest.approx(mean(changes), abs=0.01)


def test_pinned_output_so_that_a_change_of_results_bumps_the_revision(fresh: Fresh, data: Path) -> None:
    ctx = prepared(fresh, data, *(suite(name) for name in SUITES))
    result = evaluate_floor(replace(ctx, params={"order": 3, "test_tokens": 150}))
    assert {name: round(entry["score"], 3) for name, entry in result["suites"].items()} == {
        "pairs": 58.333,
        "entity": 42.222,
        "ewok": 50.0,
        "wug_adj": 0.0,
        "wug_past": 0.0,
        "eye": 0.557,
        "self_paced": 0.07,
    }


def test_a_read_word_that_is_longer_than_the_context_is_named(world: Any, fresh: Fresh, data: Path) -> None:
    world.checkpoint("train-tight", seed=1, context=8)
    with pytest.raises(RunError, match=r"item self_paced/.+ has \d+ tokens, but the model's context is 8 tokens"):
        evaluate(prepared(fresh, data, suite("self_paced"), train="train-tight"))


def test_lm_eval_returns_the_numbers_of_the_items(fresh: Fresh, data: Path) -> None:
    ctx = prepared(fresh, data, suite("entity"), suite("eye"))
    built = harness.build(ctx.inputs["suite"], {})
    assert set(built.task_dict["groups"]) == {
        "entity",
        "entity//ambiref",
        "entity//move_contents",
        "entity//regular",
        "eye",
    }


SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
DATA = Path(os.environ.get("ABLAB_SHARED_DATA", SHARED))


@pytest.mark.data
@pytest.mark.skipif(not (DATA / "evaluation_data").is_dir(), reason="needs the BabyLM evaluation data")
def test_samples_of_the_real_suites_agree_with_the_independent_scorer(world: Any, fresh: Fresh) -> None:
    world.checkpoint("train-long", seed=1, context=1_200)
    sizes = {"blimp": 1, "supplement": 2, "entity_tracking": 1, "wug_adj_nominalization": 20}
    suites = full(leave_out=("ewok", "wug_past_tense"))
    sampled = [one.model_copy(update={"items_per_task": sizes.get(one.name, 40)}) for one in suites]
    chosen = [one.model_dump(mode="json") for one in sampled]
    ctx = prepared(fresh, DATA, *chosen, train="train-long")
    result, scorer = evaluate(ctx)["suites"], reference(world, ctx)
    items = items_of(ctx)
    assert {name: len(entry["tasks"]) for name, entry in result.items()} == {
        "blimp": 67,
        "supplement": 5,
        "entity_tracking": 18,
        "wug_adj_nominalization": 1,
        "eye_tracking": 1,
        "self_paced_reading": 1,
    }
    for item in items:
        suite_name, task, _ = item["item"].split("/")
        rows = json_rows(ctx.inputs["suite"] / suite_name / f"{task}.jsonl")
        [row] = [row for row in rows if row["id"] == item["item"]]
        if "predictors" in row:
            wanted = [scorer.word(row["context"], row["options"][0])]
            if "previous" in row:
                wanted.append(scorer.word(row["previous"]["context"], row["previous"]["option"]))
        else:
            wanted = [scorer.completion(row["context"], option) for option in row["options"]]
        assert item["log_probs"] == pytest.approx(wanted, rel=1e-5, abs=1e-3), item["item"]
