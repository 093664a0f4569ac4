"""How many rows are decoded together where `decoder_rows` is "auto": measured once, then kept.

The number is numerics (a shard has as many sequences as rows). It is written into the work directory before the first
shard, so that a resumed corpus and the other processes use the same one, and goes into the manifest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import torch

from ablab.generate.decoder import Decoder, step_models
from ablab.generate.decoding import draw
from ablab.generate.sampler import sequences_per_row
from ablab.generate.weights import Architecture
from ablab.spec.synthetic import Decoding, Synthetic
from ablab.store.files import read_json, write_json
from ablab.store.memory import free_memory

CANDIDATES: Final = (32, 64, 128, 256, 512, 1_024, 2_048)
GAIN: Final = 1.03
"""More rows are taken as long as each doubling gives so much more speed; after that they only cost memory."""
SHARE: Final = 0.8
"""Of the memory that is free."""
STEPS: Final = 3
VOCABULARY_ARRAYS: Final = 6
"""Arrays of one float32 per row and word at the same time, at most: logits of two models, scores, sorted, masses."""

Make = Callable[[int], tuple[Decoder, Decoder | None]]
"""The decoders of GOOD, and of BAD where there is one, with so many rows."""


def rows_of(path: Path, synthetic: Synthetic, sequences: int, make: Make, processes: int) -> int:
    """The number that the file holds; else it is measured and written there.

    processes: that decode on the same device, each with so many rows.
    """
    if (recorded := _recorded(path)) is not None:
        return recorded
    prompts, decoding = synthetic.prompts, synthetic.decoding
    smallest = [model for model in make(1) if model is not None]
    itemsize, length = smallest[0].cache_L2BKTD.dtype.itemsize, prompts.tokens + prompts.new_tokens
    positions = (
        length + sequences_per_row(decoding) * prompts.tokens
    )  # of a row: its cache, and the prompts read for it
    row = needed_bytes([model.shape for model in smallest], positions, itemsize)
    room = room_for_each(free_bytes(smallest[0].device), weight_bytes(smallest), processes)
    useful = [rows for rows in fitting(row, room) if rows < 2 * sequences]
    rows = choose(useful or CANDIDATES[:1], lambda rows: speed(*make(rows), length, decoding))
    write_json(path, {"rows": rows})
    return rows


def _recorded(path: Path) -> int | None:
    """None too where a power cut left no number: it is chosen anew, and shards of another one do not verify."""
    try:
        return int(read_json(path)["rows"])
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return None


def fitting(row: int, room: int) -> list[int]:
    """Candidates that fit; `row`: bytes of one row."""
    return [rows for rows in CANDIDATES if rows * row <= SHARE * room]


def room_for_each(free: int, weights: int, processes: int) -> int:
    """Of the memory that is free once this process has its weights, what is left for the rows of each of the processes,
    when the others have theirs too."""
    return max(0, free - (processes - 1) * weights) // processes


def weight_bytes(decoders: Sequence[Decoder]) -> int:
    """Of one process; decoders may share their weights."""
    return sum({id(one.weights): one.weights.nbytes for one in decoders}.values())


def choose(candidates: Iterable[int], speed: Callable[[int], float]) -> int:
    """The last of the ascending candidates up to which each was faster than the one before by `GAIN`."""
    best, reached = 0, 0.0
    for rows in candidates:
        tokens_per_s = speed(rows)
        if tokens_per_s < GAIN * reached:
            break
        best, reached = rows, tokens_per_s
    return best


def needed_bytes(shapes: Sequence[Architecture], positions: int, itemsize: int) -> int:
    """Of one row: keys and values of every position, and what a step holds of the vocabulary."""
    caches = sum(2 * shape.layers * shape.kv_heads * shape.head_dim for shape in shapes) * positions * itemsize
    return caches + VOCABULARY_ARRAYS * 4 * shapes[0].vocab_size


def free_bytes(device: torch.device) -> int:
    """Memory of the device that nobody uses; this process has its weights already."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory()


@torch.inference_mode()
def speed(good: Decoder, bad: Decoder | None, length: int, decoding: Decoding) -> float:
    """Tokens per second of a step as shards make it, drawing included; the median of a few. All rows stand at half the
    length; where they stop and begin anew one by one, at all lengths."""
    models = [good] if bad is None else [good, bad]
    words_B = torch.zeros(good.rows, dtype=torch.int64, device=good.device)
    uniforms_B = torch.full((good.rows,), 0.5, dtype=torch.float64, device=good.device)
    places = [row * length // good.rows if decoding.stop_at_eos else length // 2 for row in range(good.rows)]
    seconds = []
    for _ in range(STEPS + 1):  # the first one only makes things warm
        for model in models:
            model.positions = list(places)
        began = time.perf_counter()
        drawn = draw(*step_models(good, bad, words_B), decoding, uniforms_B)
        drawn.words_B.tolist()  # waits for the device
        seconds.append(time.perf_counter() - began)
    return good.rows / sorted(seconds[1:])[STEPS // 2]
