"""Records of executions are files of the store that can be read alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from stages_helper import execution_record

from ablab.errors import InputError
from ablab.store.executions import read_execution, read_executions, write_execution


def test_what_is_written_is_read_again_oldest_first(tmp_path: Path) -> None:
    late, early = execution_record(), execution_record(id="b" * 32, started_at="2025-11-22T09:00:00+00:00")
    for record in (late, early):
        write_execution(tmp_path, record)
    assert list(read_executions(tmp_path)) == [early, late]
    write_execution(tmp_path, late.ended("failed", "no space"))
    again = read_execution(tmp_path, late.id)
    assert (again.status, again.message) == ("failed", "no space")
    assert again.finished_at is not None
    assert list(read_executions(tmp_path / "empty")) == []


@pytest.mark.parametrize("content", ["", '{"id": "x"}', "[]", '{"roles": {"a": 1}}', '{"roles": {"a": [{"b": "c"}]}}'])
def test_a_damaged_record_is_named_with_a_remedy_and_does_not_hide_the_others(tmp_path: Path, content: str) -> None:
    sound = execution_record()
    write_execution(tmp_path, sound)
    (tmp_path / "executions" / "broken.json").write_text(content)
    with pytest.raises(InputError, match=r"broken\.json is not the record of an execution .*move it away"):
        list(read_executions(tmp_path))
    assert read_execution(tmp_path, sound.id) == sound
    with pytest.raises(InputError, match="is not the record of an execution"):
        read_execution(tmp_path, "0" * 32)
