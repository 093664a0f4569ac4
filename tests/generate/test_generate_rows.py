"""Rows that begin anew while others go on: the same logits, whoever stands beside."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from ablab.generate.decoder import Decoder
from ablab.generate.dropout import AttentionDropout
from ablab.generate.graphs import bucket_of
from ablab.generate.layout import Weights
from ablab.generate.rows import Rows

LENGTH, SIZE = 30, 6


def words_of(rows: int) -> Tensor:
    return torch.randint(4, 260, (rows, LENGTH), generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, checkpoint: Callable[..., None]) -> Weights:
    folder = tmp_path_factory.mktemp("rows") / "step"
    checkpoint(folder, seed=8)
    return Weights.load(folder, "fp32")


def alone(weights: Weights, words: Tensor, sequence: int, dropout: AttentionDropout | None) -> Tensor:
    """Logits [steps, V] of one sequence in a decoder of one row."""
    decoder, first = Decoder(weights, 1, LENGTH, dropout), torch.zeros(1, dtype=torch.int64)
    number = torch.tensor([sequence])
    decoder.begin([0], decoder.read(words[None, : SIZE - 1], number), first, number)
    return torch.cat([decoder.step(words[None, position]) for position in range(SIZE - 1, LENGTH)])


@pytest.mark.parametrize("dropout", [None, AttentionDropout(0.4, 9)])
def test_a_row_that_begins_anew_beside_others_gives_the_logits_of_a_row_alone(
    weights: Weights, dropout: AttentionDropout | None
) -> None:
    """Sequences 0 and 1 begin together, 2 takes over row 1 after five steps, and then a row comes to rest."""
    words, decoder = words_of(3), Decoder(weights, 2, LENGTH, dropout)
    readings = decoder.read(words[:, : SIZE - 1], torch.arange(3))
    decoder.begin([0, 1], readings, torch.tensor([0, 1]), torch.tensor([0, 1]))
    found: dict[int, list[Tensor]] = {0: [], 1: [], 2: []}
    place = {0: SIZE - 1, 1: SIZE - 1, 2: SIZE - 1}
    owners = [0, 1]
    for step in range(20):
        if step == 5:
            decoder.begin([1], readings, torch.tensor([2]), torch.tensor([2]))
            owners = [0, 2]
        if step == 15:
            decoder.rest([0])
            owners = [-1, 2]
        fed = [words[max(owner, 0), place.get(owner, 0)] for owner in owners]
        logits = decoder.step(torch.stack(fed))
        for row, owner in enumerate(owners):
            if owner >= 0:
                found[owner].append(logits[row])
                place[owner] += 1
    assert [len(rows) for rows in found.values()] == [15, 5, 15]
    for sequence, rows in found.items():
        expected = alone(weights, words[sequence], sequence, dropout)[: len(rows)]
        assert expected.std() > 0.1
        torch.testing.assert_close(torch.stack(rows), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("positions", [[3, 3, 7, 0, 5, 5], [6] * 6])
@pytest.mark.parametrize("end", [8, 20, LENGTH])
def test_the_masked_step_of_a_gpu_gives_the_logits_and_caches_of_a_cpu(
    weights: Weights, positions: list[int], end: int
) -> None:
    words = words_of(6)
    plain, masked = Decoder(weights, 6, LENGTH), Decoder(weights, 6, LENGTH)
    numbers = torch.Generator().manual_seed(0)
    before = torch.randn(plain.cache_L2BKTD.shape, generator=numbers)
    for decoder in (plain, masked):
        decoder.cache_L2BKTD.copy_(before)  # behind the positions lies what an earlier sequence left
        decoder.positions = list(positions)
    with torch.inference_mode():
        expected = plain.step(words[:, 0])
        (found,) = masked.stack.forward_masked(words[:, 0], torch.tensor(positions), end)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(masked.cache_L2BKTD, plain.cache_L2BKTD, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("farthest", "end"), [(0, 64), (63, 64), (64, 128), (400, 420), (419, 420)])
def test_a_bucket_holds_the_farthest_row_and_never_more_than_the_cache(farthest: int, end: int) -> None:
    assert bucket_of([0, farthest], 420) == end


def test_a_prompt_is_read_once_for_all_its_continuations_but_not_with_dropout(weights: Weights) -> None:
    prompts = words_of(2)[:, :SIZE].numpy()
    draws = torch.zeros(8, 4, dtype=torch.float64)
    for dropout, read in ((None, 2), (AttentionDropout(0.4, 9), 8)):
        rows = Rows({"GOOD": Decoder(weights, 8, LENGTH, dropout)}, np.arange(8), prompts, draws)
        assert rows.readings["GOOD"][0].shape[2] == read
        assert rows.words_B.tolist() == prompts[np.arange(8) % 2, -1].tolist()


def test_rows_take_the_next_sequence_in_order_and_then_rest(weights: Weights) -> None:
    prompts = words_of(5)[:, :SIZE].numpy()
    rows = Rows({"GOOD": Decoder(weights, 2, LENGTH)}, np.arange(5), prompts, torch.zeros(5, 9, dtype=torch.float64))
    seen = [list(rows.sequences)]
    for ended in ([], [1], [0, 1], [0], [1]):
        rows.take(torch.full((2,), 9), ended)
        seen.append(list(rows.sequences))
    assert seen == [[0, 1], [0, 1], [0, 2], [3, 4], [5, 4], [5, 5]]
    assert rows.steps == [0, 0]
    assert rows.words_B.tolist() == [9, 9]
