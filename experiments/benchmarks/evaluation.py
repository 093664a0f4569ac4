"""Scoring of a checkpoint against lm-eval's own HFLM: `python -m experiments.benchmarks.evaluation --json FILE`.

Both score the same task files with the same model in one process: BLiMP-fast, Supplement-fast and 1,000 items of
entity tracking under `ABLAB_DATA`, 6 layers x 256, vocabulary 4,096, context 512, drawn weights. A *first* checkpoint
pays for everything behind the imports (model, tasks, requests, scores) in fp32, where the predictions must be the same;
a *later* one is in bf16, has its tasks built, and reads its requests from their stage. The peer has the better of
several batch sizes, found beforehand, keeps its built tasks too, and is measured once, between our turns, since it
takes most of the time. Compared are medians of CPU seconds of the process, since a shared machine gives wall clocks
away; wall seconds stand beside them.

With `--complete` instead: our own time for every suite of a final evaluation (`experiments.babylm_suites.full`) whose
files are there, in both precisions.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lm_eval.api.model import LM
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from ablab.corpora import tokenizer as bpe
from ablab.corpora.filecheck import FactCache
from ablab.corpora.formats import CorpusFile
from ablab.corpora.requests import Query
from ablab.corpora.resolve_suites import resolve_suites
from ablab.corpora.suites import build_suite
from ablab.errors import AblabError, InputError
from ablab.evaluate import harness, lm, requests
from ablab.evaluate.harness import Harness
from ablab.evaluate.neural import NeuralScorer
from ablab.evaluate.tree import plan
from ablab.models.llama import initialise, llama_config, load_checkpoint, save_checkpoint
from ablab.spec import BabyLMSuite, Model
from ablab.spec import Tokenizer as TokenizerSpec
from ablab.spec.placement import Numerics
from ablab.store.context import StageContext, silent
from experiments.babylm_suites import fast, full

SHAPE = Model(layers=6, hidden=256, heads=4, ffn=1_024, context=512)
VOCAB_SIZE = 4_096
WORDS = 500_000  # of text that the tokenizer is trained on
ENTITY_ITEMS = 1_000
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
PEERS = ("blimp_fast", "supplement_fast", "entity_tracking")
BATCHES = (16, 64)
PROBED = 256  # requests by which the peer's batch is found

Seconds = dict[str, float]
Predictions = dict[tuple[str, int], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the model and the suites, measure both sides in turn, write the figures."""
    parser = argparse.ArgumentParser(description="Scoring of a checkpoint against lm-eval's own HFLM.")
    parser.add_argument("--json", type=Path, required=True, help="where the figures go")
    parser.add_argument("--items", type=int, help="items in all, of 14,650 (default: all of them)")
    parser.add_argument("--rounds", type=int, default=1, help="our turns, of which the median counts")
    parser.add_argument(
        "--threads", type=int, default=_cores(), help="CPU threads, for all alike (default: %(default)s)"
    )
    parser.add_argument("--complete", action="store_true", help="our time for the complete suites that are there")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it warns of every model that is handed over
    try:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            items = prepare(root, given.items, given.complete)
            found = complete(root) if given.complete else measure(root, given.rounds)
            figures = found | {"items": items, "threads": given.threads, "rounds": given.rounds}
    except AblabError as error:
        print(error)
        return error.exit_code
    given.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({name: value for name, value in figures.items() if name != "runs"}, indent=2))
    return 0


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def prepare(root: Path, items: int | None, whole: bool = False) -> dict[str, int]:
    """Tokenizer, checkpoint, suites and their requests under `root`; the number of items by suite."""
    data = Path(os.environ.get("ABLAB_DATA", ""))
    if not (data / "evaluation_data").is_dir() or not (data / "corpora" / "babylm" / "train").is_dir():
        raise InputError("ABLAB_DATA must name a folder with evaluation_data and corpora/babylm/train; set it")
    (root / "tokenizer").mkdir()
    with CorpusFile(data / "corpora" / "babylm" / "train" / "simple_wiki.train", "text", "text") as file:
        spec = TokenizerSpec(vocab_size=VOCAB_SIZE)
        bpe.save(bpe.train_bpe(spec, iter([_some(file)])), root / "tokenizer")
    config = llama_config(SHAPE, VOCAB_SIZE)
    weights = dict(initialise(config, 1).state_dict())
    for name, weight in weights.items():  # an untrained model says the same of everything; this one has opinions
        weight.mul_(3.0 if weight.dim() == 2 else 1.0)
        if name == "lm_head.weight":
            weight.mul_(3.0)
    (root / "checkpoint").mkdir()
    save_checkpoint(root / "checkpoint", config, weights)
    if whole:
        found = [one for one in full() if not resolve_suites([one], data, FactCache(None))[1]]
        counts = _suites(root / "suite", data, found)
    else:
        found = [one for one in (*fast(), *full()) if one.name in PEERS]
        counts = _thinned(root / "suite", _suites(root / "suite", data, found), items)
    inputs = {"suite": root / "suite", "tokenizer": root / "tokenizer"}
    requests.build(_context("requests", {"context": SHAPE.context}, root / "requests", inputs))
    return counts


def _context(
    kind: str,
    params: Mapping[str, Any],
    out: Path,
    inputs: Mapping[str, Path] | None = None,
    locations: Mapping[str, Path] | None = None,
) -> StageContext:
    """Of a stage that is computed here."""
    out.mkdir()
    return StageContext(kind, params, inputs or {}, locations or {}, out, out, Numerics(), silent, {})


def _some(file: CorpusFile) -> list[str]:
    texts, words = [], 0
    for text in file.documents():
        texts.append(text)
        words += len(text.split())
        if words >= WORDS:
            break
    return texts


def _suites(out: Path, data: Path, wanted: Sequence[BabyLMSuite]) -> dict[str, int]:
    """The suite stage's own files; the number of items by suite."""
    resolved, faults = resolve_suites(wanted, data, FactCache(None))
    if faults:
        raise InputError(faults)
    sources = [one for one in resolved if isinstance(one, BabyLMSuite)]
    locations = {digest: Path(one.path) / file for one in sources for file, digest in one.digests.items()}
    params = {"suites": [json.loads(json.dumps(one.canonical())) for one in sources]}
    result = build_suite(_context("suite", params, out, locations=locations))
    (out / "result.json").write_text(json.dumps(result), encoding="utf-8")
    return {name: sum(suite["tasks"].values()) for name, suite in result["suites"].items()}


def _thinned(out: Path, counts: Mapping[str, int], items: int | None) -> dict[str, int]:
    """Thin the suites evenly to the number of items, and entity tracking to its own beforehand."""
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    suites = result["suites"]
    counts = {**counts, "entity_tracking": ENTITY_ITEMS}
    share = min(1.0, items / sum(counts.values())) if items else 1.0
    for name, suite in suites.items():
        _thin(out / name, suite, max(1, round(counts[name] * share)))
    (out / "result.json").write_text(json.dumps(result), encoding="utf-8")
    return {name: sum(suite["tasks"].values()) for name, suite in suites.items()}


def _thin(folder: Path, suite: dict[str, Any], items: int) -> None:
    """Keep so many of a suite's items, evenly spaced; a task that loses all of them goes."""
    total, number = sum(suite["tasks"].values()), 0
    for task in list(suite["tasks"]):
        kept = []
        for line in (folder / f"{task}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True):
            if (number + 1) * items // total > number * items // total:
                kept.append(line)
            number += 1
        (folder / f"{task}.jsonl").write_text("".join(kept), encoding="utf-8")
        suite["tasks"][task] = len(kept)
    suite["tasks"] = {task: count for task, count in suite["tasks"].items() if count}
    if "sections" in suite:
        sections = {name: [t for t in tasks if t in suite["tasks"]] for name, tasks in suite["sections"].items()}
        suite["sections"] = {name: tasks for name, tasks in sections.items() if tasks}


class Clock:
    """CPU and wall seconds by part of one evaluation."""

    def __init__(self) -> None:
        self.seconds: Seconds = {}

    def time(self, part: str, action: Callable[[], Any]) -> Any:
        cpu, wall = time.process_time(), time.perf_counter()
        result = action()
        for name, spent in ((part, time.process_time() - cpu), (f"{part}_wall", time.perf_counter() - wall)):
            self.seconds[name] = self.seconds.get(name, 0.0) + spent
        return result


class Timed(NeuralScorer):
    """Our scorer; what it takes is a part of its own."""

    clock: Clock

    def completions(self, queries: Sequence[Query]) -> list[float]:
        found: list[float] = self.clock.time("model_s", lambda: super(Timed, self).completions(queries))
        return found


class TimedHFLM(HFLM):  # type: ignore[misc]
    """lm-eval's model; what it takes behind tokenizing is a part of its own."""

    clock: Clock

    def _loglikelihood_tokens(self, *args: Any, **kwargs: Any) -> Any:
        return self.clock.time("model_s", lambda: super(TimedHFLM, self)._loglikelihood_tokens(*args, **kwargs))


class Answers(LM):  # type: ignore[misc]
    """A model that takes no time, so that lm-eval itself is seen."""

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        return [(0.0, False)] * len(requests)

    loglikelihood_rolling = generate_until = loglikelihood


def ours(root: Path, precision: str, clock: Clock) -> Timed:
    scorer = Timed(load_checkpoint(root / "checkpoint", dtype=DTYPES[precision]), Numerics().evaluation_rows)
    scorer.clock = clock
    return scorer


def peer(root: Path, precision: str, clock: Clock, batch: int) -> TimedHFLM:
    model = LlamaForCausalLM.from_pretrained(root / "checkpoint", dtype=DTYPES[precision]).eval()
    words = PreTrainedTokenizerFast.from_pretrained(root / "tokenizer")
    made = TimedHFLM(pretrained=model, tokenizer=words, batch_size=batch, max_length=SHAPE.context, add_bos_token=True)
    made.clock = clock
    return made


def run(root: Path, load: Callable[[Clock], LM], first: bool) -> tuple[Seconds, Harness]:
    """One evaluation: the model is loaded, the tasks are built (or were, where it is not the first), all is scored."""
    clock = Clock()
    lm._last_asked.clear()
    plan.cache_clear()
    if first:
        harness._last_built.clear()

    def everything() -> Harness:
        model = clock.time("load_s", lambda: load(clock))
        built: Harness = clock.time("tasks_s", lambda: harness.build(root / "suite", {}))
        evaluate(lm=model, task_dict=built.task_dict, bootstrap_iters=0, log_samples=False)
        return built

    built = clock.time("total_s", everything)
    return clock.seconds, built


def predictions(built: Harness) -> Predictions:
    """The most probable option of every item; the first of exact equals."""
    log_probs: dict[tuple[str, int], list[float]] = {}
    for name, task in built.task_dict["tasks"].items():
        for instance in task.instances:
            log_probs.setdefault((name, instance.doc_id), []).append(instance.filtered_resps["none"][0])
    return {item: found.index(max(found)) for item, found in log_probs.items()}


def measure(root: Path, rounds: int) -> dict[str, Any]:
    """All figures."""
    words = bpe.load(root / "tokenizer")
    runs: dict[str, list[Seconds]] = {}
    said: dict[str, Predictions] = {}

    def turn(name: str, load: Callable[[Clock], LM], first: bool) -> None:
        seconds, built = run(root, load, first)
        runs.setdefault(name, []).append(seconds)
        said[name] = predictions(built)
        print(name, json.dumps({part: round(spent, 2) for part, spent in seconds.items()}), flush=True)

    some = some_requests(root)
    batch = {precision: best_batch(root, precision, some) for precision in DTYPES}
    for precision in DTYPES:  # the peer is warm by now
        lm.ScoredLM(ours(root, precision, Clock()), words).loglikelihood(some)
    for number in range(rounds):
        turn("ours_first", lambda clock: lm.ScoredLM(ours(root, "fp32", clock), words), True)
        turn("ours_later", partial(_ready, root, "bf16", words), False)
        if number == 0:
            turn("peer_first", lambda clock: peer(root, "fp32", clock, batch["fp32"]), True)
            turn("peer_later", lambda clock: peer(root, "bf16", clock, batch["bf16"]), False)
        turn("lm_eval_alone", lambda _: Answers(), False)
    return summary(runs, said) | {"peer_batch": batch, "runs": runs}


def complete(root: Path) -> dict[str, Any]:
    """Seconds of ours alone for suites whose requests are stored, by precision."""
    words = bpe.load(root / "tokenizer")
    found = {}
    for precision in DTYPES:
        load = partial(_ready, root, precision, words)
        found[precision], _ = run(root, load, True)
        print(precision, json.dumps({part: round(spent, 2) for part, spent in found[precision].items()}), flush=True)
    return {"complete": found}


def _ready(root: Path, precision: str, words: Tokenizer, clock: Clock) -> LM:
    return lm.ScoredLM(ours(root, precision, clock), words, root / "requests")


def some_requests(root: Path) -> list[Any]:
    """Requests from all over the suites."""
    requests: list[Any] = []
    for task in harness.build(root / "suite", {}).task_dict["tasks"].values():
        task.build_all_requests()
        requests += task.instances
    return requests[:: max(1, len(requests) // PROBED)]


def best_batch(root: Path, precision: str, some: list[Any]) -> int:
    """The size at which the peer answers some requests fastest."""
    spent = {}
    for batch in BATCHES:
        model, clock = peer(root, precision, Clock(), batch), Clock()
        model.loglikelihood(some[:batch], disable_tqdm=True)
        clock.time("s", lambda model=model: model.loglikelihood(some, disable_tqdm=True))
        spent[batch] = clock.seconds["s"]
    return min(spent, key=lambda batch: spent[batch])


def summary(runs: Mapping[str, list[Seconds]], said: Mapping[str, Predictions]) -> dict[str, Any]:
    """Ratios and medians. Raises `InputError` where the two sides predict something else in fp32."""
    differ = [item for item, option in said["ours_first"].items() if said["peer_first"][item] != option]
    if differ:
        raise InputError(f"{len(differ)} predictions differ in fp32, the first is item {differ[0]}; correct the scorer")
    medians = {name: {part: statistics.median(one[part] for one in of) for part in of[0]} for name, of in runs.items()}
    for of in medians.values():
        known = sum(of.get(part, 0.0) for part in ("load_s", "tasks_s", "model_s"))
        of["requests_and_lm_eval_s"] = of["total_s"] - known
    ratios: dict[str, Any] = {}
    for which in ("first", "later"):
        mine, other = medians[f"ours_{which}"], medians[f"peer_{which}"]
        ratios[f"ratio_{which}_checkpoint"] = other["total_s"] / mine["total_s"]
        ratios[f"ratio_{which}_checkpoint_wall"] = other["total_s_wall"] / mine["total_s_wall"]
    later = [said["peer_later"][item] == option for item, option in said["ours_later"].items()]
    same = {"same_predictions_fp32": True, "same_predictions_bf16": float(np.mean(later))}
    return ratios | same | {"lm_eval_alone_s": medians["lm_eval_alone"]["total_s"], "medians": medians}


if __name__ == "__main__":
    raise SystemExit(main())
