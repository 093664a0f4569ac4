"""Tokenizing and packing against `datasets.map`: `python -m experiments.benchmarks.tokenizing --json FILE`.

Both make token streams of the same documents with the same tokenizer on every core, alternated, each time in a process
of its own; medians are compared. Ours is the stage `tokens` (from parquet to flat ids, which need no packing: a block
is a slice of them). The peer is what one writes with datasets and transformers: `map` in batches with a process for
each core, then another `map` that packs blocks of 1,024, both written as Arrow. Neither is charged for its imports, nor
the peer for loading the documents. Real text under `ABLAB_DATA` is used where it is, else the microworld's.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

from ablab.corpora import microworld
from ablab.corpora.documents import Document, take
from ablab.corpora.formats import CorpusFile
from ablab.corpora.streams import DocumentWriter, read_texts
from ablab.corpora.tokenizer import EOS, save, train_bpe
from ablab.spec import Tokenizer
from experiments.benchmarks.processes import family

NAMES = ("childes", "gutenberg", "simple_wiki")
CONTEXT = 1_024
SAMPLE_S = 0.1


def main() -> int:
    """Prepare the text, measure both sides in turn, write the figures."""
    arguments = _parser().parse_args()
    if arguments.side:
        before = _cpu_seconds()
        seconds, tokens = {"ours": ours, "peer": peer}[arguments.side](Path(arguments.work), arguments.cores)
        print(json.dumps({"seconds": seconds, "cpu_seconds": _cpu_seconds() - before, "tokens": tokens}))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        about = prepare(work, arguments.words)
        print(json.dumps(about), flush=True)
        runs: dict[str, list[dict[str, float]]] = {"ours": [], "peer": []}
        for _ in range(arguments.rounds):
            for side, of in runs.items():
                of.append(measure(side, work, arguments.cores))
                print(side, json.dumps(of[-1]), flush=True)
    found = figures(runs) | about | {"cores": arguments.cores, "rounds": arguments.rounds, "runs": runs}
    Path(arguments.json).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(
        f"ours {found['ours_tokens_per_s']:,.0f} tokens/s, datasets.map {found['peer_tokens_per_s']:,.0f}: "
        f"{found['ratio']:.2f} times as fast"
    )
    return 0


def figures(runs: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Medians of both sides; both must have made the same number of tokens."""
    counts = {one["tokens"] for of in runs.values() for one in of}
    if len(counts) != 1:
        raise SystemExit(f"the sides made different numbers of tokens: {sorted(counts)}")
    speeds = {side: statistics.median(one["tokens"] / one["seconds"] for one in of) for side, of in runs.items()}
    memory = {f"{side}_peak_bytes": max(one["peak_bytes"] for one in of) for side, of in runs.items()}
    return {
        "ours_tokens_per_s": speeds["ours"],
        "peer_tokens_per_s": speeds["peer"],
        "ratio": speeds["ours"] / speeds["peer"],
        **{f"{side}_cpu_seconds": statistics.median(one["cpu_seconds"] for one in of) for side, of in runs.items()},
        **memory,
    }


def prepare(work: Path, words: int | None) -> dict[str, Any]:
    """A corpus directory with one split, and the directory of its tokenizer."""
    (work / "corpus").mkdir()
    (work / "tokenizer").mkdir()
    real = Path(os.environ.get("ABLAB_DATA", "/nowhere")) / "corpora" / "babylm" / "train"
    texts = _real(real) if real.is_dir() else microworld.documents(1, words or 1_000_000, "train")
    count = documents = 0
    with DocumentWriter(work / "corpus" / "train.parquet") as writer:
        for text in take(texts, words):
            writer.write(Document(f"{documents:08d}", "text", text))
            documents, count = documents + 1, count + len(text.split())
    spec = Tokenizer(vocab_size=8_192 if real.is_dir() else 512)
    save(train_bpe(spec, read_texts(work / "corpus" / "train.parquet")), work / "tokenizer")
    text = "babylm" if real.is_dir() else "microworld"
    return {"text": text, "words": count, "documents": documents, "vocab_size": spec.vocab_size}


def _real(folder: Path) -> Iterator[str]:
    for name in NAMES:
        with CorpusFile(folder / f"{name}.train", "text", "text") as file:
            yield from file.documents()


def measure(side: str, work: Path, cores: int) -> dict[str, float]:
    """One side in a process of its own: seconds, tokens, and the most memory that it and its children held."""
    environment = os.environ | {
        "RAYON_NUM_THREADS": str(cores),
        "TOKENIZERS_PARALLELISM": "true" if side == "ours" else "false",
        "HF_DATASETS_CACHE": str(work / "cache"),
        "HF_HUB_OFFLINE": "1",
    }
    command = [sys.executable, "-m", "experiments.benchmarks.tokenizing", "--side", side]
    command += ["--work", str(work), "--cores", str(cores), "--json", ""]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(map(_memory, family(process.pid))))
        time.sleep(SAMPLE_S)
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{side} ended with {process.returncode}")
    found: dict[str, float] = json.loads(output.splitlines()[-1])
    return found | {"peak_bytes": peak}


def ours(work: Path, cores: int) -> tuple[float, int]:
    """The stage `tokens`."""
    from ablab.corpora.stages import tokenize
    from ablab.spec.placement import Numerics
    from ablab.store.context import StageContext, silent

    out = work / "ours"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    inputs = {"corpus": work / "corpus", "tokenizer": work / "tokenizer"}
    ctx = StageContext("key", {"splits": ["train"]}, inputs, {}, out, out, Numerics(threads=cores), silent, {})
    began = time.perf_counter()
    result = tokenize(ctx)
    return time.perf_counter() - began, result["tokens"]["train"]


def peer(work: Path, cores: int) -> tuple[float, int]:
    """What one writes with datasets and transformers."""
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(str(work / "tokenizer"))
    documents = Dataset.from_parquet(str(work / "corpus" / "train.parquet"), cache_dir=str(work / "cache"))

    def encode(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        found = tokenizer(
            batch["text"], return_attention_mask=False, return_token_type_ids=False, split_special_tokens=True
        )
        return {"input_ids": [[*ids, EOS] for ids in found["input_ids"]]}

    def pack(batch: dict[str, list[list[int]]]) -> dict[str, list[list[int]]]:
        ids = list(chain.from_iterable(batch["input_ids"]))
        return {"input_ids": [ids[at : at + CONTEXT] for at in range(0, len(ids) - len(ids) % CONTEXT, CONTEXT)]}

    settings = {"batched": True, "num_proc": cores, "load_from_cache_file": False}
    began = time.perf_counter()
    encoded = documents.map(encode, remove_columns=documents.column_names, **settings)
    encoded.map(pack, **settings)
    seconds = time.perf_counter() - began
    return seconds, sum(map(len, chain.from_iterable(_columns(encoded))))


def _columns(encoded: Any) -> Iterable[list[list[int]]]:
    return (batch["input_ids"] for batch in encoded.iter(batch_size=1_000))


def _cpu_seconds() -> float:
    """Of this process and of those that it has waited for, imports included; says more on a machine that is shared."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _memory(pid: int) -> int:
    """Bytes of memory of a process; what it shares with others counts in parts (PSS)."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--json", required=True, help="file for the figures")
    made.add_argument("--words", type=int, default=None, help="first words of the text (default: all of it)")
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    made.add_argument("--side", choices=("ours", "peer"), help=argparse.SUPPRESS)
    made.add_argument("--work", help=argparse.SUPPRESS)
    return made


if __name__ == "__main__":
    raise SystemExit(main())
