"""Documents that need not fit into memory: sorted runs, and row groups that stay small."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ablab.corpora import streams
from ablab.corpora.documents import Document
from ablab.corpora.sorting import in_order
from ablab.corpora.streams import DocumentWriter, read_batches

RANKS = st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 3), max_size=40)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(ranks=RANKS, limit=st.integers(1, 200))
def test_documents_come_in_the_order_of_rank_and_id_however_many_runs_that_takes(
    tmp_path: Path, ranks: list[int], limit: int
) -> None:
    ranked = [(Document(f"one/{index:03d}", "one", f"text {index} ü"), rank) for index, rank in enumerate(ranks)]
    expected = [document for document, _ in sorted(ranked, key=lambda one: (one[1], one[0].id))]
    assert list(in_order(ranked, tmp_path, limit)) == expected
    assert list(tmp_path.iterdir()) == []


def test_no_more_text_is_held_than_the_limit(tmp_path: Path) -> None:
    held = most = 0

    def documents() -> Iterator[tuple[Document, int]]:
        nonlocal held, most
        for index in range(60):
            held = sum(1 for _ in tmp_path.glob("run-*"))
            most = max(most, index - held * 5)
            yield Document(str(index), "one", "x" * 10), -index % 7

    assert len(list(in_order(documents(), tmp_path, limit=50))) == 60
    assert most <= 5


def test_long_documents_make_small_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "ROW_GROUP_CHARACTERS", 100)
    rows = [Document(str(index), "one", "x" * (10 + 30 * (index % 3))) for index in range(30)]
    with DocumentWriter(tmp_path / "some.parquet", rows=7) as writer:
        for row in rows:
            writer.write(row)
    sizes = [sum(len(row.text) for row in batch) for batch in read_batches(tmp_path / "some.parquet")]
    assert max(sizes) < 100 + 70 and pq.read_metadata(tmp_path / "some.parquet").num_row_groups == len(sizes) > 5
    assert [row for batch in read_batches(tmp_path / "some.parquet") for row in batch] == rows
