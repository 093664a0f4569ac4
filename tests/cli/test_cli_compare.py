"""`ablab compare`: several designs, runs by their id, and what is said after the code changed."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from cli_helper import Invoke, settle
from tiny_helper import NAME, undisturbed

from ablab.spec.stages import KINDS, StageKind
from ablab.store.executions import read_executions


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    base = tmp_path_factory.getbasetemp()
    home = undisturbed(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)
    settle(monkeypatch, home)
    return home


def test_after_a_revision_the_change_is_named_and_the_earlier_results_stay_within_reach(
    ablab: Invoke, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = KINDS["train"]
    raised = replace(before, revision=before.revision + 1)
    monkeypatch.setitem(cast(dict[str, StageKind], KINDS), "train", raised)
    id_ = next(iter(read_executions(home / "store"))).id[:8]
    for command in ("compare", "power"):
        code, _, err = ablab(command, NAME, "--scale", "tiny")
        assert code == 2
        assert f"train has revision {raised.revision}, then {before.revision};" in err
        assert f"ablab compare {id_}" in err
        assert "run-ablation" in err
    code, out, _ = ablab("compare", id_, "--json")
    assert code == 0
    assert len(json.loads(out)["comparison"]["arms"]) > 2


def test_what_was_never_run_says_so(ablab: Invoke) -> None:
    code, _, err = ablab("compare", NAME, "--scale", "tiny", "--set", "schedule.learning_rate=0.5")
    assert code == 2
    assert "no arm has a result; run the ablation first" in err


def test_a_run_and_its_declaration_are_one_set_of_arms(ablab: Invoke, home: Path) -> None:
    id_ = next(iter(read_executions(home / "store"))).id[:8]
    code, out, _ = ablab("compare", NAME, id_, "--scale", "tiny", "--json")
    assert code == 0
    found = json.loads(out)["comparison"]
    assert len({arm.partition(":")[0] for arm in found["arms"]}) == 1
    assert found["claims"] == []
    assert any("the same computation is named once" in note for note in found["notes"])


def test_every_name_that_is_wrong_is_told(ablab: Invoke) -> None:
    code, _, err = ablab("compare", "contrastive-vs-maskd", "mixing-ratioo", "--scale", "tiny")
    assert code == 2
    assert err.count("did you mean") == 2
