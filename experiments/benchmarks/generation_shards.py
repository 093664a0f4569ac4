"""Memory and cost per token of whole corpora of 1 to 1,000 shards, the finishing pass included.

The stage itself runs, on a tiny model, each corpus in a process of its own, so that a peak of memory is its own. Costs
are CPU seconds of the stage, without the imports: neighbours on the machine do not count. In the corpus of one shard
models are loaded for a thousandth of the words of the largest, so the cost per token is compared from 10 shards on.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SHARDS = (1, 10, 100, 1_000)
ROWS, PROMPT, NEW_TOKENS, VOCABULARY = 32, 8, 32, 512
TEXTS = 64  # of the seed split


def measure_shards(counts: tuple[int, ...] = SHARDS) -> dict[str, Any]:
    """One row per corpus: shards, tokens, seconds, CPU microseconds per token, peak of resident memory in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_inputs(root)
        rows = []
        for turn, shards in enumerate(counts):
            code = f"from experiments.benchmarks.generation_shards import main; main({str(root)!r}, {turn}, {shards})"
            output = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE).stdout
            rows.append(json.loads(output.splitlines()[-1]))
            print(output.decode().splitlines()[-1], flush=True)
    return {
        "shards": rows,
        "us_per_token_last_over_second": rows[-1]["cpu_us_per_token"] / rows[1]["cpu_us_per_token"],
        "peak_bytes_last_minus_second": rows[-1]["peak_memory_bytes"] - rows[1]["peak_memory_bytes"],
    }


def make_inputs(root: Path) -> None:
    """Directories as the stages before leave them: a seed split, a tokenizer, two checkpoints."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    from ablab.generate.text import SPECIALS
    from experiments.benchmarks.contestants import make_pair
    from experiments.benchmarks.setting import Architecture

    for name in ("corpus", "tokenizer", "select"):
        (root / name).mkdir()
    words = [*SPECIALS, *(f"w{number}" for number in range(len(SPECIALS), VOCABULARY))]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, "<unk>"))
    tokenizer.add_special_tokens(list(SPECIALS))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.save(str(root / "tokenizer" / "tokenizer.json"))
    numbers = torch.randint(4, VOCABULARY, (TEXTS, PROMPT), generator=torch.Generator().manual_seed(0)).tolist()
    texts = [" ".join(words[number] for number in row) for row in numbers]
    columns = {"id": [str(row) for row in range(TEXTS)], "source": ["x"] * TEXTS, "text": texts}
    pq.write_table(pa.table(columns), root / "corpus" / "seed.parquet")
    make_pair(Architecture(layers=1, hidden=32, heads=2, ffn=64, vocab_size=VOCABULARY), root)
    for step, name in ((1, "bad"), (2, "good")):
        (root / name).rename(root / f"step-{step:08d}")
        (root / "training" / "checkpoints").mkdir(parents=True, exist_ok=True)
        (root / f"step-{step:08d}").rename(root / "training" / "checkpoints" / f"step-{step:08d}")
    (root / "select" / "result.json").write_text(json.dumps({"step": 2}))


def main(folder: str, turn: int, shards: int) -> None:
    """One corpus, in this process; prints its row."""
    from ablab.generate.stage import generate
    from ablab.spec.placement import Numerics
    from ablab.store.context import StageContext, silent
    from experiments.benchmarks.contestants import CONTRAST

    root = Path(folder)
    out, work = root / f"out-{turn}", root / f"work-{turn}"
    out.mkdir()
    work.mkdir()
    tokens = shards * ROWS * NEW_TOKENS
    params = {
        "bad": {"kind": "early-checkpoint", "step": 1},
        "decoding": CONTRAST.model_dump(),
        "prompts": {"tokens": PROMPT, "chunk_words": PROMPT, "new_tokens": NEW_TOKENS},
        "tokens": tokens,
        "generation_seed": 1,
        "precision": "fp32",
    }
    inputs = {name: root / name for name in ("corpus", "tokenizer", "select")} | {"good": root / "training"}
    numerics = Numerics(decoder_rows=ROWS)
    began, cpu = time.perf_counter(), time.process_time()
    generate(StageContext("key", params, inputs, {}, out, work, numerics, silent, {}))
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    row = {
        "shards": shards,
        "tokens": tokens,
        "seconds": time.perf_counter() - began,
        "cpu_us_per_token": 1e6 * (time.process_time() - cpu) / tokens,
        "peak_memory_bytes": int(peak.split()[1]) * 1024,  # getrusage would count the parent's before the start
    }
    print(json.dumps(row))
