"""Laws of ablab's model inside lm-eval's own command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance

from ablab.errors import InputError, RunError
from ablab.evaluate.lm_eval import AblabFolder, checkpoint_of, tokenizer_of

DOCS = [
    {"text": "Anna puts the key in the", "good": " park.", "bad": " barn."},
    {"text": "Ben puts the ball in the", "good": " house.", "bad": " park."},
]
TASKS = {
    "scored": {
        "output_type": "multiple_choice",
        "doc_to_text": "text",
        "doc_to_choice": "{{[good, bad]}}",
        "doc_to_target": 0,
        "target_delimiter": "",
        "metric_list": [{"metric": "acc"}],
    },
    "rolling": {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "text",
        "metric_list": [{"metric": "word_perplexity"}],
    },
    "written": {
        "output_type": "generate_until",
        "doc_to_text": "text",
        "doc_to_target": "good",
        "generation_kwargs": {"until": ["."], "max_gen_toks": 6, "do_sample": False},
        "metric_list": [{"metric": "exact_match"}],
    },
}


def write_tasks(folder: Path) -> Path:
    """Three task files over one local data set."""
    folder.mkdir()
    (folder / "docs.jsonl").write_text("".join(json.dumps(doc) + "\n" for doc in DOCS))
    data = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(folder / "docs.jsonl")}}}
    for name, task in TASKS.items():
        config = {"task": name, **data, "test_split": "test", **task, "metadata": {"version": 1.0}}
        (folder / f"{name}.yaml").write_text(json.dumps(config))
    return folder


@pytest.fixture
def model(world: Any) -> AblabFolder:
    return AblabFolder(str(world.root / "train-a"), tokenizer=str(world.root / "tokenizer"), device="cpu")


def next_log_probs(model: AblabFolder, tokens: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model.model(torch.tensor([tokens])).logits[0].double().log_softmax(-1)


def test_lm_evals_own_command_scores_rolls_and_writes_with_a_checkpoint(world: Any, tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path / "tasks")
    arguments = f"pretrained={world.root / 'train-a'},tokenizer={world.root / 'tokenizer'}"
    code = (  # lm-eval's index of its thousands of tasks is left out for speed
        "import functools, lm_eval.tasks as t; t.TaskManager.__init__ = functools.partialmethod("
        "t.TaskManager.__init__, include_defaults=False); from ablab.evaluate.lm_eval import main; main()"
    )
    options = {
        "--model": "ablab",
        "--model_args": arguments,
        "--device": "cpu",
        "--tasks": ",".join(TASKS),
        "--include_path": str(tasks),
        "--output_path": str(tmp_path / "out"),
    }
    done = subprocess.run(
        [sys.executable, "-c", code, *(part for option in options.items() for part in option)],
        env={"PATH": "", "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "out").rglob("results_*.json")
    results = json.loads(file.read_text())["results"]
    assert 0.0 <= results["scored"]["acc,none"] <= 1.0
    assert results["rolling"]["word_perplexity,none"] > 1.0
    assert results["written"]["exact_match,none"] == 0.0


def test_a_completion_has_the_score_of_its_tokens_and_is_greedy_where_each_is_the_best(
    model: AblabFolder, world: Any
) -> None:
    context = "Anna puts the key in"
    tokens = world.tokenizer.encode(context).ids
    best = int(next_log_probs(model, tokens)[-1].argmax())
    greedy = world.tokenizer.decode([best])
    for completion, says in ((greedy, True), (" the barn.", False)):
        encoding = world.tokenizer.encode(context + completion)
        log_probs = next_log_probs(model, encoding.ids)
        scored = [i for i, (_, end) in enumerate(encoding.offsets) if end > len(context)]
        ((found, is_greedy),) = model.loglikelihood([Instance("loglikelihood", {}, (context, completion), 0)])
        assert found == pytest.approx(sum(float(log_probs[i - 1, encoding.ids[i]]) for i in scored), abs=1e-4)
        assert is_greedy == says == all(log_probs[i - 1].argmax() == encoding.ids[i] for i in scored)


def test_every_token_of_a_rolling_text_is_scored_once_behind_as_much_as_the_context_holds(
    model: AblabFolder, world: Any
) -> None:
    text = "Anna puts the key in the park. " * 6
    start, *tokens = world.tokenizer.encode(text).ids
    context = model.max_length
    assert context < len(tokens) < 2 * context
    (found,) = model.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, (text,), 0)])
    first = next_log_probs(model, [start, *tokens[: context - 1]])
    last = next_log_probs(model, tokens[-context - 1 : -1])
    wanted = sum(float(first[i, tokens[i]]) for i in range(context))
    wanted += sum(float(last[i - len(tokens), tokens[i]]) for i in range(context, len(tokens)))
    assert found == pytest.approx(wanted, abs=1e-3)


def test_text_is_written_greedily_up_to_a_stop(model: AblabFolder, world: Any) -> None:
    context = "Anna puts the key in"
    tokens = list(world.tokenizer.encode(context).ids)
    for _ in range(5):
        tokens.append(int(next_log_probs(model, tokens)[-1].argmax()))
    wanted = world.tokenizer.decode(tokens)[len(context) :]
    asked = (context, {"until": ["§"], "max_gen_toks": 5, "do_sample": False})
    (found,) = model.generate_until([Instance("generate_until", {}, asked, 0)])
    assert found == wanted


def test_a_text_longer_than_the_context_is_an_error_and_never_cut(model: AblabFolder) -> None:
    request = Instance("loglikelihood", {}, ("Anna puts the key. " * 20, "key"), 1, metadata=("some", 3, 1))
    with pytest.raises(RunError, match=r"some: document 3, request 1 has \d+ tokens, but the model's context is 48"):
        model.loglikelihood([request])


def test_folders_are_found_or_named_in_the_error(world: Any, tmp_path: Path) -> None:
    train = world.root / "train-a"
    assert checkpoint_of(train, None) == checkpoint_of(train, 4) == train / "checkpoints" / "step-00000004"
    assert checkpoint_of(train / "checkpoints" / "step-00000004", None).name == "step-00000004"
    with pytest.raises(InputError, match=r"step=3 is not among the checkpoints of .*: 4"):
        checkpoint_of(train, 3)
    with pytest.raises(InputError, match=r"neither config.json nor checkpoints"):
        checkpoint_of(tmp_path, None)
    with pytest.raises(InputError, match=r"holds no tokenizer.json; name the folder"):
        tokenizer_of(train, None)


def test_a_training_of_a_store_knows_its_tokenizer(tmp_path: Path) -> None:
    for kind, inputs in (("train", {"tokens": "b"}), ("tokens", {"tokenizer": "c"}), ("tokenizer", {})):
        key = {"train": "a", "tokens": "b", "tokenizer": "c"}[kind]
        (tmp_path / kind / key).mkdir(parents=True)
        (tmp_path / kind / key / "stage.json").write_text(json.dumps({"inputs": inputs}))
    (tmp_path / "tokenizer" / "c" / "tokenizer.json").write_text("{}")
    assert tokenizer_of(tmp_path / "train" / "a", None) == tmp_path / "tokenizer" / "c"


def test_the_tokenizer_of_another_model_is_refused(world: Any, tmp_path: Path) -> None:
    other = json.loads((world.root / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8"))
    other["added_tokens"].append({**other["added_tokens"][-1], "id": 300, "content": "<more>"})
    for name in ("tokenizer_config.json", "tokenizer.json"):
        (tmp_path / name).write_text((world.root / "tokenizer" / name).read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "tokenizer.json").write_text(json.dumps(other), encoding="utf-8")
    with pytest.raises(InputError, match="has 301 entries, but the model's vocabulary has 300"):
        AblabFolder(str(world.root / "train-a"), tokenizer=str(tmp_path), device="cpu")
