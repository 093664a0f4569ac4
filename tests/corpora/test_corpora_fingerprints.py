"""Fingerprints of documents: what is held out, and the overlap that sketches estimate."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ablab.corpora.fingerprints import SKETCH_SIZE, HeldOut, Sketch, Sketcher, estimated_overlap, fingerprint, merged


def sketch_of(numbers: range) -> Sketch:
    sketcher = Sketcher()
    for number in numbers:
        sketcher.add(fingerprint(f"document {number}"))
    return sketcher.sketch()


@settings(deadline=None)
@given(st.sets(st.integers(0, 2_000)), st.sets(st.integers(0, 2_000)), st.randoms())
def test_a_sketch_depends_on_the_set_of_documents_alone_and_merges(
    one: set[int], other: set[int], random: object
) -> None:
    def sketch(numbers: list[int]) -> Sketch:
        sketcher = Sketcher()
        for number in numbers:
            sketcher.add(fingerprint(f"document {number}"))
        return sketcher.sketch()

    shuffled = [*one, *one]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert sketch(shuffled) == sketch(sorted(one))
    assert merged([sketch(sorted(one)), sketch(sorted(other))]) == sketch(sorted(one | other))
    everything = sorted(int.from_bytes(fingerprint(f"document {number}")[:8], "big") for number in one)
    assert list(sketch(sorted(one))) == everything[:SKETCH_SIZE]


@given(st.sets(st.integers(0, 60), min_size=1), st.sets(st.integers(0, 60), min_size=1))
def test_the_overlap_of_few_documents_is_exact(one: set[int], other: set[int]) -> None:
    found = estimated_overlap(*(tuple(sorted(of)) for of in (one, other)))
    assert found == len(one & other) / min(len(one), len(other))


def test_the_overlap_of_many_documents_is_near_the_truth_also_where_one_source_is_larger() -> None:
    for small, large, shared in ((5_000, 5_000, 0.0), (5_000, 5_000, 0.4), (5_000, 40_000, 1.0), (3_000, 9_000, 0.7)):
        first = int(small * (1 - shared))
        found = estimated_overlap(sketch_of(range(small)), sketch_of(range(first, first + large)))
        assert found is not None and abs(found - shared) < 0.15


def test_nothing_is_said_of_a_source_that_is_too_small_beside_the_other() -> None:
    assert estimated_overlap(sketch_of(range(300)), sketch_of(range(100_000))) is None


@settings(deadline=None)
@given(st.floats(0.01, 0.49), st.integers(), st.sampled_from([("validation",), ("test",), ("validation", "test")]))
def test_a_document_is_always_in_the_same_split(share: float, seed: int, lacking: tuple[str, ...]) -> None:
    cut = HeldOut(share, seed, lacking)
    for number in range(30):
        text = f"some words {number}"
        split = cut.split_of(fingerprint(text))
        assert split == "train" or split in lacking
        assert split == cut.split_of(fingerprint(f"  some\u00a0words\n{number} "))  # the same words
        both = HeldOut(share, seed, ("validation", "test")).split_of(fingerprint(text))
        assert split == (both if both in lacking else "train")


def test_held_out_shares_are_as_declared() -> None:
    cut = HeldOut(0.1, 7, ("validation", "test"))
    splits = [cut.split_of(fingerprint(f"document {number}")) for number in range(20_000)]
    for split, share in (("train", 0.8), ("validation", 0.1), ("test", 0.1)):
        assert abs(splits.count(split) / 20_000 - share) < 0.01
    other = [
        HeldOut(0.1, 8, ("validation", "test")).split_of(fingerprint(f"document {number}")) for number in range(2_000)
    ]
    assert other != splits[:2_000]
