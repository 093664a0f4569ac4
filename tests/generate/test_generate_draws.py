"""Laws of the draws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ablab.generate.draws import philox, uniforms

KNOWN = [  # Random123's known answers for philox4x32-10: counter, key (low word first), output
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_philox_gives_the_published_answers(
    counter: tuple[int, ...], key: tuple[int, int], answer: tuple[int, ...]
) -> None:
    words = [np.array([word], dtype=np.uint64) for word in counter]
    given_words = philox((words[0], words[1], words[2], words[3]), key[0] | key[1] << 32)
    assert tuple(int(word[0]) for word in given_words) == answer


@given(st.integers(), st.integers(0, 2**63), st.integers(0, 2**31))
def test_a_draw_does_not_depend_on_what_is_drawn_with_it(seed: int, sequence: int, position: int) -> None:
    alone = uniforms(seed, sequence, position)
    rows = np.array([sequence + 2, sequence, 0], dtype=np.uint64)[:, None]
    among_others = uniforms(seed, rows, np.array([0, position + 1, position]))
    assert among_others.shape == (3, 3)
    assert among_others[1, 2] == alone


def test_every_coordinate_changes_the_draw() -> None:
    base = (1, 2, 3)
    others = [(2, 2, 3), (1, 3, 3), (1, 2, 4), (1 + 2**40, 2, 3), (1, 2 + 2**40, 3), (-1, 2, 3)]
    assert len({float(uniforms(*point)) for point in [base, *others]}) == 7


def test_draws_are_uniform_in_the_unit_interval_with_53_bits() -> None:
    draws = uniforms(11, np.arange(1000)[:, None], np.arange(400))
    assert draws.min() >= 0.0
    assert draws.max() < 1.0
    assert stats.kstest(draws.ravel(), "uniform").pvalue > 1e-3
    assert stats.chisquare(np.bincount((draws * 1024).astype(int).ravel(), minlength=1024)).pvalue > 1e-3
    low_bits = (draws * 2.0**53).astype(np.int64) % 256
    assert stats.chisquare(np.bincount(low_bits.ravel(), minlength=256)).pvalue > 1e-3


def test_neighbours_in_position_sequence_and_seed_are_uncorrelated() -> None:
    draws = np.stack([uniforms(seed, np.arange(200)[:, None], np.arange(200)) for seed in range(4)])
    for axis in range(3):
        one, other = (
            np.take(draws, range(draws.shape[axis] - 1), axis),
            np.take(draws, range(1, draws.shape[axis]), axis),
        )
        correlation = np.corrcoef(one.ravel(), other.ravel())[0, 1]
        assert abs(correlation) < 4 / np.sqrt(one.size)
        pairs = np.histogram2d(one.ravel(), other.ravel(), bins=16, range=[[0, 1], [0, 1]])[0]
        assert stats.chisquare(pairs.ravel()).pvalue > 1e-3
