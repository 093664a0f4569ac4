"""Laws of lm-eval's own tasks as suites: their code and numbers, from a snapshot alone."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager

from ablab.corpora.filecheck import FactCache
from ablab.corpora.resolve_suites import resolve_suites
from ablab.corpora.suites import build_suite
from ablab.errors import InputError, RunError
from ablab.evaluate import requests
from ablab.evaluate.curve import learning_curve
from ablab.evaluate.lm_eval import AblabFolder, AblabLM
from ablab.evaluate.snapshot import export, fetch_tasks, load
from ablab.evaluate.stage import evaluate
from ablab.spec import Replicate, edit, lower
from ablab.spec.edit import dump
from ablab.spec.suites import LmEvalTasks
from ablab.store.context import StageContext
from experiments.scales import tiny

Fresh = Callable[..., StageContext]
PLACES = ("park", "barn", "house")
CODE = """
def process_docs(documents):
    return documents.filter(lambda row: row["keep"]).map(lambda row: {"asked": row["text"].strip()})
"""
BASE = """
output_type: multiple_choice
training_split: shots
test_split: test
num_fewshot: 1
process_docs: !function utils.process_docs
doc_to_text: "{{asked}}"
doc_to_choice: options
doc_to_target: right
metric_list: [{metric: acc}, {metric: acc_norm}]
metadata: {version: 3.0}
"""
SHUFFLED = """
import random

def process_docs(documents):
    def mixed(row):
        right = row["options"][row["right"]]
        options = random.sample(row["options"], 3)
        return {"asked": row["text"], "options": options, "right": options.index(right)}
    return documents.shuffle().map(mixed)
"""
WRITTEN = """
task: written
output_type: generate_until
test_split: test
doc_to_text: "{{text}}"
doc_to_target: "{{options[right]}}"
generation_kwargs: {until: ["."], max_gen_toks: 4, do_sample: false}
metric_list: [{metric: exact_match}]
"""
SUITE = LmEvalTasks(name="outside", group="reasoning", tasks=("places",), limit=None, include="tasks")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with two task files: code beside them, an include, a data set in a local file."""
    folder = tmp_path / "tasks"
    (folder / "places").mkdir(parents=True)
    rows = [
        {"text": f"{who} puts the key in the", "options": list(PLACES), "right": n % 3, "keep": n != 4}
        for n, who in enumerate(("Anna", "Ben", "Carla", "Dario", "Eva", "Anna and Ben", "Ben and Carla"))
    ]
    files = {}
    for split, some in (("test", rows), ("shots", rows[:2])):
        files[split] = str(folder / f"{split}.jsonl")
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    source = f"dataset_path: json\ndataset_kwargs: {json.dumps({'data_files': files})}\n"
    (folder / "base.yaml").write_text(source + BASE)
    (folder / "utils.py").write_text(CODE)
    (folder / "places" / "places.yaml").write_text("include: ../base.yaml\ntask: places\n")
    (folder / "written.yaml").write_text(source + WRITTEN)
    return tmp_path


def staged(world: Any, data: Path, suite: LmEvalTasks, name: str) -> str:
    """The suite and requests directories of a suite under `data`; the name of the first."""
    (resolved,), faults = resolve_suites([suite], data, FactCache(None))
    assert not faults
    assert isinstance(resolved, LmEvalTasks)
    shutil.rmtree(data / "tasks", ignore_errors=True)  # a snapshot is all that a stage needs
    out = world.root / name
    out.mkdir()
    locations = {digest: Path(resolved.path) / file for file, digest in resolved.digests.items()}
    params = {"suites": [json.loads(json.dumps(resolved.canonical()))]}
    ctx = StageContext(name, params, {}, locations, out, out, *_rest(world))
    (out / "result.json").write_text(json.dumps(build_suite(ctx)))
    return name


def _rest(world: Any) -> Any:
    ctx = world.context(f"rest-{len(list(world.root.iterdir()))}", {})
    return ctx.numerics, ctx.progress, {}


def test_a_task_of_a_snapshot_has_the_numbers_that_lm_eval_gives_it(world: Any, fresh: Fresh, data: Path) -> None:
    manager = TaskManager(include_path=str(data / "tasks"), include_defaults=False)
    model = AblabFolder(str(world.root / "train-a"), tokenizer=str(world.root / "tokenizer"), device="cpu")
    live = simple_evaluate(model=model, tasks=["places"], task_manager=manager, bootstrap_iters=0)
    fetch_tasks([SUITE], data)
    ctx = fresh(suite=staged(world, data, SUITE, "suite-places"))
    entry = evaluate(ctx)["suites"]["outside"]
    assert entry["score"] == 100 * live["results"]["places"]["acc,none"]
    assert entry["tasks"] == {"places": {"score": entry["score"], "items": 6, "version": 3.0}}
    assert (entry["group"], entry["chance"]) == ("reasoning", pytest.approx(100 / 3))
    rows = pq.read_table(ctx.out / "items.parquet").to_pylist()
    assert [row["item"] for row in rows] == [f"outside/places/{n}" for n in range(6)]
    for row, sample in zip(rows, live["samples"]["places"], strict=True):
        assert row["correct"] == (sample["acc"] == 1.0)
        assert row["log_probs"] == pytest.approx([answer[0] for answer in sample["filtered_resps"]])
        assert row["prediction"] == max(range(3), key=row["log_probs"].__getitem__)


def test_a_task_that_writes_is_judged_by_what_the_model_writes(world: Any, fresh: Fresh, data: Path) -> None:
    suite = SUITE.model_copy(update={"tasks": ("written",), "metric": "exact_match", "limit": 2})
    fetch_tasks([suite], data)
    ctx = fresh(suite=staged(world, data, suite, "suite-written"))
    entry = evaluate(ctx)["suites"]["outside"]
    assert (entry["score"], entry["chance"], entry["tasks"]["written"]["items"]) == (0.0, None, 2)
    rows = pq.read_table(ctx.out / "items.parquet").to_pylist()
    assert [(row["correct"], row["prediction"], row["log_probs"]) for row in rows] == [(False, None, [])] * 2


def test_a_task_that_draws_options_has_the_same_ones_for_every_model_and_is_judged_by_those_that_it_asked(
    world: Any, fresh: Fresh, data: Path
) -> None:
    (data / "tasks" / "utils.py").write_text(SHUFFLED)
    fetch_tasks([SUITE], data)
    suite = staged(world, data, SUITE, "suite-shuffled")
    path = world.root / suite / "outside" / "places.zip"
    drawn = []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        task = load(path)
        drawn.append(task.eval_docs.to_list())
        assert task.eval_docs.to_list() == drawn[-1]
    assert drawn[0] == drawn[1]
    assert {tuple(row["options"]) for row in drawn[0]} != {PLACES}
    ctx = fresh(suite=suite)
    evaluate(ctx)
    rows = pq.read_table(ctx.out / "items.parquet").to_pylist()
    assert [row["correct"] for row in rows] == [
        row["prediction"] == document["right"] for row, document in zip(rows, drawn[0], strict=True)
    ]


def test_what_is_stored_of_an_answer_does_not_contradict_the_metric(world: Any, fresh: Fresh, data: Path) -> None:
    base = data / "tasks" / "base.yaml"
    base.write_text(base.read_text().replace("{metric: acc_norm}", "{metric: acc_norm}, {metric: acc_mutual_info}"))
    suite = SUITE.model_copy(update={"metric": "acc_norm"})
    fetch_tasks([suite], data)
    ctx = fresh(suite=staged(world, data, suite, "suite-norm"))
    evaluate(ctx)
    for row in pq.read_table(ctx.out / "items.parquet").to_pylist():
        assert (row["prediction"], len(row["log_probs"])) == (None, len(PLACES))
        assert row["correct"] is not None and row["pseudo_value"] is None


def test_documents_of_a_metric_that_is_a_mean_but_not_of_right_answers_have_pseudo_values(
    world: Any, fresh: Fresh, data: Path
) -> None:
    base = data / "tasks" / "base.yaml"
    base.write_text(base.read_text().replace("acc_norm", "acc_mutual_info"))
    suite = SUITE.model_copy(update={"metric": "acc_mutual_info"})
    fetch_tasks([suite], data)
    ctx = fresh(suite=staged(world, data, suite, "suite-mutual"))
    score = evaluate(ctx)["suites"]["outside"]["score"]
    rows = pq.read_table(ctx.out / "items.parquet").to_pylist()
    assert {row["correct"] for row in rows} == {None}
    assert sum(row["pseudo_value"] for row in rows) / len(rows) == pytest.approx(score / 100, abs=1e-12)


def test_curves_have_such_suites(world: Any, fresh: Fresh, data: Path) -> None:
    fetch_tasks([SUITE], data)
    name = staged(world, data, SUITE, "suite-curve")
    params = {"precision": "fp32", "steps": [4], "suites": ["outside"], "items_per_task": 3}
    looked = learning_curve(fresh(params, suite=name))
    assert list(looked["suites"]) == ["outside"]


def test_documents_longer_than_the_context_are_named_before_a_model_is_there_and_nothing_of_them_is_written(
    world: Any, fresh: Fresh, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch_tasks([SUITE], data)
    ctx = fresh(suite=staged(world, data, SUITE, "suite-long"))
    asked: list[Any] = []
    scored = AblabLM.loglikelihood
    monkeypatch.setattr(
        AblabLM, "loglikelihood", lambda lm, several, **more: asked.extend(several) or scored(lm, several, **more)
    )
    evaluate(ctx)
    lengths = [len(world.tokenizer.encode("".join(one.args)).ids) for one in asked]
    limit = replace(ctx, params={"context": max(lengths)}, out=fresh(suite="suite-long").out)
    numbers = requests.build(limit)["suites"]["outside"]
    assert numbers == {"requests": len(asked), "queries": len(asked), "longest_tokens": max(lengths)}
    assert [*limit.out.iterdir()] == []
    with pytest.raises(RunError, match=rf"item outside/places/\d+, option \d has {max(lengths)} tokens, but the model"):
        requests.build(replace(limit, params={"context": max(lengths) - 1}))


def test_only_where_n_grams_can_answer_everything_there_is_a_floor() -> None:
    suites = [dump(suite) for suite in tiny().evaluation.suites]
    other = edit(tiny(), {"evaluation.suites": [*suites, dump(SUITE)]})
    replicate = Replicate(train_seed=1, generation_seed=1)
    assert set(lower(tiny(), replicate).roles) - set(lower(other, replicate).roles) == {"floor"}


def test_the_same_task_makes_the_same_snapshot(data: Path) -> None:
    for name in ("one", "two"):
        export("places", data / "tasks", data / f"{name}.zip")
    assert (data / "one.zip").read_bytes() == (data / "two.zip").read_bytes()


def test_what_is_missing_or_does_not_fit_is_said_before_a_run(data: Path) -> None:
    def faults(**changes: Any) -> str:
        return "\n".join(resolve_suites([SUITE.model_copy(update=changes)], data, FactCache(None))[1])

    assert "suite 'outside': the snapshot of lm-eval's task 'places' is not there" in faults()
    assert "`ablab data fetch`" in faults()
    fetch_tasks([SUITE], data)
    assert faults() == ""
    assert "places has no metric 'f1'" in faults(metric="f1")
    assert "places has no filter 'strict'" in faults(filter="strict")
    assert "SHA-256" in faults(digests={"places.zip": "0" * 64})
    (data / "lm-eval" / "places.zip").write_bytes(b"no zip")
    assert "is no snapshot of a task" in faults()


def test_a_name_that_is_no_task_is_refused_with_the_nearest(data: Path) -> None:
    (data / "tasks" / "group.yaml").write_text("group: both\ntask: [places, written]\n")
    with pytest.raises(InputError, match=r"'both' is no single task of a file, but group"):
        export("both", data / "tasks", data / "both.zip")
    (data / "tasks" / "test.jsonl").unlink()
    with pytest.raises(RunError, match=r"lm-eval's task 'written': its documents cannot be had"):
        export("written", data / "tasks", data / "written.zip")
