"""Items that a model cannot read are named before anything is trained, and before a run where that can be known."""

from __future__ import annotations

from pathlib import Path

import pytest
from stages_helper import Notes, executor, small_plan, suite_stage, tokenizer_stage

from ablab.errors import RunError
from ablab.spec import Stage
from ablab.store import Store


def requests(context: int) -> Stage:
    return Stage("requests", {"context": context}, {"suite": suite_stage(), "tokenizer": tokenizer_stage()})


def test_the_first_run_names_long_items_and_the_next_one_does_so_before_it_computes(tmp_path: Path) -> None:
    store, view = Store(tmp_path / "store"), Notes()
    plan = small_plan(store, requests(8))
    assert plan.long_items(store) == [], "nothing is known of them yet"
    with (
        executor(tmp_path, plan, view) as (run, _),
        pytest.raises(RunError, match="but the model's context is 8 tokens"),
    ):
        run.run()
    assert view.started_kinds[0] == "suite", "what may be refused comes first"
    (fault,) = small_plan(store, requests(8)).long_items(store)
    assert fault.startswith("item minimal_pairs/")
    assert fault.endswith("use a model with a longer context, or leave these suites out")
    assert small_plan(store, requests(200)).long_items(store) == []
