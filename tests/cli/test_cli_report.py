"""`ablab report` and `ablab claims`: what is recorded is shown, when a claim was written is told."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cli_helper import Invoke, settle

from ablab.registry.versions import lock
from ablab.runner.recorded import AFTERWARDS, BEFORE, NO_RESULTS, Recorded, claim_records, recorded
from ablab.spec import Ablation, Arm, Claim, Design
from ablab.spec.canonical import digest
from ablab.spec.edit import dump
from ablab.store import Store
from ablab.store.executions import Execution, write_execution
from ablab.store.files import write_json

NAME = "contrastive-vs-masked"
START = "2025-01-02T03:04:05+00:00"
SECONDS = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()
DECLARATION = """
from ablab.spec import Ablation
from ablab.spec.base import build
import json, pathlib
ABLATION = build(Ablation, json.loads((pathlib.Path(__file__).parents[1] / "ablation.json").read_text()), "here")
"""
EVALUATED = {"real": ("evaluate", "1" * 64), "mixed": ("evaluate", "2" * 64)}


@pytest.fixture
def design() -> Design:
    """The shipped tiny design without the arms and claims that are not needed."""
    from tiny_helper import ROOT

    from ablab.registry.declarations import load_declarations

    tiny = load_declarations(ROOT).find(NAME).ablation.design("tiny")
    mixed = Arm(name="mixed", edits=tiny.arms[0].edits)
    claim = Claim(
        id="helps",
        statement="It helps",
        factor="mixture.share",
        metric="aggregate",
        arm="mixed",
        against="real",
        direction="greater",
        margin=0.0,
    )
    return tiny.model_copy(update={"control": "real", "arms": (mixed,), "claims": (claim,)})


@pytest.fixture
def project(tmp_path: Path, design: Design) -> Path:
    """A project in which `shares@1` is pinned."""
    folder = tmp_path / "project"
    (folder / "ablations").mkdir(parents=True)
    ablation = Ablation(name="shares", version=1, question="?", designs={"tiny": design})
    (folder / "ablation.json").write_text(json.dumps(dump(ablation)), "utf-8")
    (folder / "ablations" / "shares.py").write_text(DECLARATION, "utf-8")
    lock(folder, "shares")
    return folder


@pytest.fixture(autouse=True)
def store(tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    settle(monkeypatch, tmp_path / "home", project)
    return Store(tmp_path / "home" / "store")


def evaluated(store: Store, arm: str, started: float) -> None:
    """A finished evaluation, as far as the time of its beginning goes."""
    directory = store.directory(*EVALUATED[arm])
    directory.mkdir(parents=True)
    write_json(directory / "manifest.json", {"started": started, "files": {}, "numerics": {}, "costs": {}})


def run_of(design: Design, label: str, **changes: Any) -> Execution:
    record = Execution(
        id="a1" * 16,
        ablation="shares",
        label=label,
        scale="tiny",
        question="?",
        design=dump(design),
        design_digest=digest(design.canonical()),
        edits={},
        placement={"jobs": 1},
        roles={arm: [{"evaluate": stage}] for arm, stage in EVALUATED.items()},
        status="finished",
        started_at=START,
        host="here",
        pid=1,
        code="0" * 12,
    )
    return replace(record, **changes)


def status(found: Recorded, store: Store, project: Path) -> str:
    return claim_records(found, store, project)["helps"].status


def test_a_claim_is_pinned_before_results_when_its_pair_was_completed_later(
    design: Design, store: Store, project: Path
) -> None:
    evaluated(store, "real", SECONDS - 999.0)  # the control of another ablation shows no difference
    evaluated(store, "mixed", SECONDS + 1.0)
    assert status(recorded([run_of(design, "shares@1")]), store, project) == BEFORE


def test_a_claim_that_was_pinned_after_its_pair_is_written_afterwards(
    design: Design, store: Store, project: Path
) -> None:
    evaluated(store, "real", SECONDS - 2.0)
    evaluated(store, "mixed", SECONDS - 1.0)
    earlier = run_of(design, "shares@dev", id="b2" * 16, started_at="2025-01-01T00:00:00+00:00")
    assert status(recorded([earlier, run_of(design, "shares@1")]), store, project) == AFTERWARDS


def test_a_claim_that_was_pinned_between_a_run_and_its_computation_anew_is_written_afterwards(
    design: Design, store: Store, project: Path
) -> None:
    evaluated(store, "real", SECONDS + 1.0)  # removed after the first run, and computed again
    evaluated(store, "mixed", SECONDS + 1.0)
    day = "2025-01-01T00:00:00+00:00"
    earlier = run_of(design, "shares@dev", id="b2" * 16, started_at=day, finished_at=day)
    pinned = run_of(design, "shares@1", finished_at="2025-01-03T00:00:00+00:00")
    assert status(recorded([earlier, pinned]), store, project) == AFTERWARDS
    assert status(recorded([replace(earlier, status="failed"), pinned]), store, project) == BEFORE
    assert status(recorded([pinned]), store, project) == BEFORE


def test_a_claim_of_a_version_that_is_not_pinned_is_written_afterwards(
    design: Design, store: Store, project: Path
) -> None:
    evaluated(store, "real", SECONDS + 1.0)
    evaluated(store, "mixed", SECONDS + 1.0)
    for label in ("shares@dev", "shares@2"):
        assert status(recorded([run_of(design, label)]), store, project) == AFTERWARDS


def test_a_claim_that_the_pinned_version_words_otherwise_is_written_afterwards(
    design: Design, store: Store, project: Path
) -> None:
    evaluated(store, "real", SECONDS + 1.0)
    evaluated(store, "mixed", SECONDS + 1.0)
    moved = (design.claims[0].model_copy(update={"margin": 1.0}),)
    other = design.model_copy(update={"claims": moved})
    assert status(recorded([run_of(other, "shares@1")]), store, project) == AFTERWARDS


def test_a_damaged_pin_proves_nothing(design: Design, store: Store, project: Path) -> None:
    evaluated(store, "real", SECONDS + 1.0)
    evaluated(store, "mixed", SECONDS + 1.0)
    pin = project / "ablations" / "versions" / "shares@1.json"
    pin.write_text(pin.read_text("utf-8").replace("It helps", "It harms"), "utf-8")
    assert status(recorded([run_of(design, "shares@1")]), store, project) == AFTERWARDS


def test_a_claim_without_a_pair_has_no_results(design: Design, store: Store, project: Path) -> None:
    evaluated(store, "mixed", SECONDS)
    assert status(recorded([run_of(design, "shares@1")]), store, project) == NO_RESULTS


def test_an_older_run_adds_what_the_newest_left_out_unless_its_control_is_another(design: Design) -> None:
    stages = {arm: [{"evaluate": stage}] for arm, stage in EVALUATED.items()}
    pilot = run_of(design, "shares@1", id="c3" * 16, roles={"real": stages["real"]})
    assert recorded([run_of(design, "shares@1"), pilot]).roles == stages
    other = {"real": [{"evaluate": ("evaluate", "9" * 64)}]}
    assert recorded([run_of(design, "shares@1"), replace(pilot, roles=other)]).roles == other


def test_a_report_of_what_was_not_run_names_the_runs_that_are_there(
    ablab: Invoke, design: Design, store: Store
) -> None:
    code, _, err = ablab("report", "shares", "--scale", "tiny")
    assert code == 2
    assert "run it first: run-ablation shares --scale tiny" in err
    edited = design.edited({"schedule.steps": 11})
    write_execution(store.root, run_of(edited, "shares@1", edits={"schedule.steps": 11}))
    code, _, err = ablab("report", "shares", "--scale", "tiny")
    assert code == 2
    assert "a1a1a1a1 (shares@1 at tiny --set schedule.steps=11)" in err


def test_a_report_without_any_result_is_refused(ablab: Invoke, design: Design, store: Store) -> None:
    write_execution(store.root, run_of(design, "shares@1"))
    for name in ("shares", "a1a1a1"):
        code, _, err = ablab("report", name, "--scale", "tiny")
        assert code == 2
        assert "no arm has a result" in err


def test_a_folder_with_figures_of_someone_else_is_left_alone(ablab: Invoke, tmp_path: Path) -> None:
    drawn = tmp_path / "paper" / "figures" / "drawn.pdf"
    drawn.parent.mkdir(parents=True)
    drawn.touch()
    code, _, err = ablab("report", "shares", "--scale", "tiny", "--out", str(drawn.parents[1]))
    assert code == 2
    assert "holds figures but no report.html" in err
    assert drawn.exists()


def test_claims_of_an_empty_store_are_none(ablab: Invoke) -> None:
    assert ablab("claims")[:2] == (0, "No ablation has results; `run-ablation NAME` runs one.\n")
    assert json.loads(ablab("claims", "--json")[1])["designs"] == []


def test_a_design_with_a_damaged_stage_is_named_in_its_place_and_the_others_are_told(
    ablab: Invoke, design: Design, store: Store
) -> None:
    evaluated(store, "real", SECONDS)
    write_execution(store.root, run_of(design, "shares@1", roles={"real": [{"evaluate": EVALUATED["real"]}]}))
    damaged = ("evaluate", "3" * 64)
    store.directory(*damaged).mkdir()
    lost = {"started": SECONDS, "files": {"result.json": {"sha256": "0" * 64, "bytes": 1}}, "numerics": {}, "costs": {}}
    write_json(store.directory(*damaged) / "manifest.json", lost)
    roles = {"real": [{"evaluate": damaged}]}
    write_execution(store.root, run_of(design, "earlier@1", id="b2" * 16, ablation="earlier", roles=roles))
    code, out, err = ablab("claims")
    assert code == 1
    assert out.index("earlier@1 at tiny") < out.index("its claims cannot be told") < out.index("shares@1 at tiny")
    assert "earlier@1 at tiny: evaluate 333333333333 is damaged" in err
    assert "shares@1 at tiny: " in err  # refused for another reason, and told as well
    assert not store.has(*damaged)


def test_trials_of_a_study_are_no_ablation_with_claims(ablab: Invoke, design: Design, store: Store) -> None:
    evaluated(store, "real", SECONDS)
    write_execution(store.root, run_of(design, "rates@1", study="rates"))
    assert ablab("claims")[:2] == (0, "No ablation has results; `run-ablation NAME` runs one.\n")


def test_a_report_of_a_real_run_is_built_twice_alike_and_changes_nothing(
    ablab: Invoke, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    from tiny_helper import undisturbed

    base = tmp_path_factory.getbasetemp()
    home = undisturbed(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)
    settle(monkeypatch, home)
    before = contents(home / "store")
    for out in ("one", "two"):
        code, _, err = ablab("report", NAME, "--scale", "tiny", "--out", str(tmp_path / out))
        assert (code, err) == (0, "")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert contents(home / "store") == before
    page = (tmp_path / "one" / "report.html").read_text("utf-8")
    for heading in ("Claims", "Learning curves", "Samples", "Costs", "Provenance"):
        assert f">{heading}</h" in page
    found = json.loads(ablab("claims", "--json")[1])["designs"]
    assert [(one["ablation"], one["scale"], len(one["claims"])) for one in found] == [(NAME, "tiny", 7)]


def contents(folder: Path) -> Mapping[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
