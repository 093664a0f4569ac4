"""A small real world for evaluation: a tokenizer, token streams, suites and checkpoints, made on the fly."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from ablab.corpora import tokenizer as bpe
from ablab.evaluate import requests
from ablab.models.llama import initialise, llama_config, save_checkpoint
from ablab.spec.placement import Numerics
from ablab.spec.recipe import Model
from ablab.spec.recipe import Tokenizer as TokenizerSpec
from ablab.store.context import StageContext, silent

VOCAB_SIZE = 300
CONTEXT = 48
PEOPLE, THINGS, PLACES = ("Anna", "Ben", "Carla", "Dario"), ("ball", "box", "café", "key"), ("park", "barn", "house")

Suites = Mapping[str, Mapping[str, Any]]


def sentences() -> list[str]:
    """Every sentence of a very small language, in a fixed order that mixes them."""
    made = [f"{p} puts the {t} in the {w}. The {t} is in the {w}." for p in PEOPLE for t in THINGS for w in PLACES]
    return [made[(i * 29) % len(made)] for i in range(len(made))]


def pair_items(suite: str, task: str, count: int) -> list[dict[str, Any]]:
    """Whole sentences, right and wrong."""
    good = sentences()[:count]
    return [
        {"id": f"{suite}/{task}/{i}", "context": "", "options": [s, s.replace(" is in ", " are on ")]}
        for i, s in enumerate(good)
    ]


def place_items(suite: str, task: str, count: int) -> list[dict[str, Any]]:
    """A context, and three places as completions with their leading space."""
    items = []
    for i, sentence in enumerate(sentences()[:count]):
        context, _, place = sentence.removesuffix(".").rpartition(" ")
        options = [f" {place}.", *(f" {other}." for other in PLACES if other != place)]
        items.append({"id": f"{suite}/{task}/{i}", "context": context, "options": options})
    return items


def scrambled_items(suite: str, task: str, count: int) -> list[dict[str, Any]]:
    """Two orders of the same words, neither of them right: no model scores 0 or 100 here."""
    items = []
    for i, sentence in enumerate(sentences()[:count]):
        words = sentence.split()
        orders = [" ".join(words[turn:] + words[:turn]) for turn in (i % 7 + 1, (i + 3) % 7 + 1)]
        items.append({"id": f"{suite}/{task}/{i}", "context": "", "options": orders})
    return items


@dataclass(frozen=True)
class World:
    """Stage directories under one root, and contexts that name them."""

    root: Path

    @property
    def tokenizer(self) -> Tokenizer:
        return bpe.load(self.root / "tokenizer")

    def checkpoint(self, name: str, seed: int, context: int = CONTEXT, spread: float = 0.2) -> Path:
        """A training directory with one checkpoint at step 4: random weights, far from uniform predictions."""
        config = llama_config(Model(layers=2, hidden=32, heads=2, ffn=64, context=context), VOCAB_SIZE)
        rng = np.random.default_rng(seed)
        shapes = {name: tuple(weight.shape) for name, weight in initialise(config, seed).state_dict().items()}
        weights = {
            name: torch.ones(shape) if len(shape) == 1 else torch.from_numpy(rng.normal(0, spread, shape))
            for name, shape in sorted(shapes.items())
        }
        directory = self.root / name / "checkpoints" / "step-00000004"
        directory.mkdir(parents=True, exist_ok=True)
        save_checkpoint(directory, config, weights)
        return directory

    def suite(self, name: str, suites: Suites) -> None:
        """A suite directory; `suites` maps names to group, chance and rows by task."""
        folder = self.root / name
        listed: dict[str, Any] = {}
        for suite, entry in suites.items():
            (folder / suite).mkdir(parents=True, exist_ok=True)
            for task, rows in entry["tasks"].items():
                lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
                (folder / suite / f"{task}.jsonl").write_text("".join(lines), encoding="utf-8")
            counts = {task: len(rows) for task, rows in entry["tasks"].items()}
            listed[suite] = {"group": entry["group"], "chance": entry["chance"], "tasks": counts}
        write_result(folder, {"suites": listed})

    def requests(self, suite: str, locations: Mapping[str, Path] | None = None) -> str:
        """The name of the requests directory of a suite directory. locations: encrypted zips by SHA-256."""
        folder = self.root / f"requests-{suite}"
        if not folder.is_dir():
            folder.mkdir()
            inputs = {"suite": self.root / suite, "tokenizer": self.root / "tokenizer"}
            params = {"context": 10_000}
            write_result(folder, requests.build(stage_context(folder, params, inputs, locations or {})))
        return folder.name

    def context(
        self,
        out: str,
        params: Mapping[str, Any],
        train: str = "train-a",
        suite: str = "suite",
        locations: Mapping[str, Path] | None = None,
    ) -> StageContext:
        folder = self.root / out
        folder.mkdir()
        names = {"train": train, "select": "select", "suite": suite, "tokenizer": "tokenizer", "tokens": "tokens"}
        names["requests"] = self.requests(suite, locations)
        inputs = {name: self.root / directory for name, directory in names.items()}
        return stage_context(folder, params, inputs, locations or {})


def stage_context(
    out: Path, params: Mapping[str, Any], inputs: Mapping[str, Path], locations: Mapping[str, Path]
) -> StageContext:
    return StageContext(out.name, params, inputs, locations, out, out, Numerics(evaluation_rows=16), silent, {})


def write_result(folder: Path, result: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = World(tmp_path_factory.mktemp("world"))
    texts = sentences()
    tokenizer = bpe.train_bpe(TokenizerSpec(vocab_size=VOCAB_SIZE), iter([texts]))
    (made.root / "tokenizer").mkdir()
    bpe.save(tokenizer, made.root / "tokenizer")
    streams = {"train": texts[: len(texts) * 3 // 4], "test": texts[len(texts) * 3 // 4 :]}
    counts: dict[str, Any] = {"dtype": "uint16", "tokens": {}, "documents": {}, "bytes": {}}
    (made.root / "tokens").mkdir()
    for split, documents in streams.items():
        tokens = np.concatenate([np.array(ids, dtype="<u2") for ids in bpe.encode_documents(tokenizer, documents)])
        (made.root / "tokens" / f"{split}.bin").write_bytes(tokens.tobytes())
        counts["tokens"][split] = len(tokens)
        counts["documents"][split] = len(documents)
        counts["bytes"][split] = sum(len(text.encode()) for text in documents)
    write_result(made.root / "tokens", counts)
    made.suite("suite", standard_suites())
    write_result(made.root / "select", {"step": 4})
    made.checkpoint("train-a", seed=1)
    made.checkpoint("train-b", seed=2)
    return made


def standard_suites() -> Suites:
    """Two suites; the first has tasks of different sizes."""
    return {
        "pairs": {
            "group": "linguistic",
            "chance": 50.0,
            "tasks": {"few": pair_items("pairs", "few", 5), "many": scrambled_items("pairs", "many", 30)},
        },
        "places": {
            "group": "reasoning",
            "chance": 100 / 3,
            "tasks": {"places": place_items("places", "places", 30)},
        },
    }


@pytest.fixture
def fresh(world: World) -> Iterator[Callable[..., StageContext]]:
    """Contexts with an output directory of their own, named in order."""
    made: list[StageContext] = []

    def make(params: Mapping[str, Any] | None = None, rows: int = 16, **names: Any) -> StageContext:
        number = len(list(world.root.iterdir()))
        ctx = world.context(f"out-{number}", params or {"precision": "fp32", "test_tokens": 150}, **names)
        made.append(ctx)
        return replace(ctx, numerics=Numerics(evaluation_rows=rows))

    yield make
