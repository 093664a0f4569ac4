"""A pinned number means one content for ever; what a name means follows from files alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ablab.errors import InputError
from ablab.registry.versions import all_pinned, load_pinned, lock, pinned_path, resolve_name, spec_digest


def test_locking_pins_the_whole_spec_and_twice_changes_nothing(project: Any) -> None:
    project.declare("rate")
    path = lock(project.root, "rate")
    assert path == project.root / "ablations/versions/rate@1.json"
    content = path.read_bytes()
    assert content.endswith(b"}\n")
    data = json.loads(content)
    assert set(data) == {"ablation", "digest", "schema"}
    assert lock(project.root, "rate").read_bytes() == content
    assert list(path.parent.iterdir()) == [path]
    pinned = load_pinned(project.root, "rate", 1)
    assert pinned.ablation == resolve_name(project.root, "rate").ablation
    assert pinned.digest == spec_digest(pinned.ablation) == data["digest"]


def test_locking_other_content_under_a_pinned_number_is_refused_with_the_fields(project: Any) -> None:
    project.declare("rate", rate=0.01)
    content = lock(project.root, "rate").read_bytes()
    project.declare("rate", rate=0.02)
    with pytest.raises(InputError) as raised:
        lock(project.root, "rate")
    assert "designs.tiny.arms.faster.edits.schedule.learning_rate" in str(raised.value)
    assert "set version=2" in str(raised.value)
    assert pinned_path(project.root, "rate", 1).read_bytes() == content
    project.declare("rate", rate=0.02, version=2)
    assert lock(project.root, "rate").name == "rate@2.json"


def test_a_faulty_declaration_is_not_pinned(project: Any) -> None:
    project.declare("rate", factor="schedule.steps")
    with pytest.raises(InputError, match="claim faster-helps"):
        lock(project.root, "rate")
    assert not pinned_path(project.root, "rate", 1).exists()


def test_a_plain_name_is_the_pinned_number_or_dev(project: Any) -> None:
    project.declare("rate")
    chosen = resolve_name(project.root, "rate")
    assert (chosen.label, chosen.pinned, chosen.drift) == ("rate@dev", False, [])
    lock(project.root, "rate")
    chosen = resolve_name(project.root, "rate")
    assert (chosen.label, chosen.pinned, chosen.drift) == ("rate@1", True, [])
    chosen = resolve_name(project.root, "rate@dev")
    assert (chosen.label, chosen.pinned, chosen.drift) == ("rate@dev", False, [])
    project.declare("rate", version=2)
    assert resolve_name(project.root, "rate").label == "rate@dev"


def test_drift_is_refused_by_name_and_shown_for_dev(project: Any) -> None:
    project.declare("rate", rate=0.01)
    lock(project.root, "rate")
    project.declare("rate", rate=0.02)
    field = "designs.tiny.arms.faster.edits.schedule.learning_rate"
    with pytest.raises(InputError) as raised:
        resolve_name(project.root, "rate")
    for part in (field, "set version=2", "ablab lock rate", "rate@dev"):
        assert part in str(raised.value)
    chosen = resolve_name(project.root, "rate@dev")
    assert chosen.drift == [field]
    assert chosen.ablation.design("tiny").arms[0].edits == {"schedule.learning_rate": 0.02}


@pytest.mark.parametrize("aftermath", ["moved on", "broken", "deleted"])
def test_a_pinned_version_outlives_its_declaration(project: Any, aftermath: str) -> None:
    path = project.declare("rate", rate=0.01)
    lock(project.root, "rate")
    if aftermath == "moved on":
        project.declare("rate", rate=0.02, version=2)
    elif aftermath == "broken":
        path.write_text("1/0")
    else:
        path.unlink()
    chosen = resolve_name(project.root, "rate@1")
    assert (chosen.label, chosen.pinned) == ("rate@1", True)
    assert chosen.ablation.design("tiny").arms[0].edits == {"schedule.learning_rate": 0.01}
    if aftermath != "moved on":
        with pytest.raises(InputError, match="pinned versions still run: rate@1"):
            resolve_name(project.root, "rate")


def test_an_unknown_version_lists_those_that_are_pinned(project: Any) -> None:
    project.declare("rate")
    with pytest.raises(InputError, match="rate has no pinned version 7, nor any other"):
        resolve_name(project.root, "rate@7")
    lock(project.root, "rate")
    project.declare("rate", version=10)
    lock(project.root, "rate")
    with pytest.raises(InputError, match="rate has no pinned version 7; pinned: 1, 10"):
        resolve_name(project.root, "rate@7")
    with pytest.raises(InputError, match="no ablation is named 'rats'; did you mean 'rate'"):
        resolve_name(project.root, "rats@1")
    assert [(one.ablation.name, one.ablation.version) for one in all_pinned(project.root)] == [
        ("rate", 1),
        ("rate", 10),
    ]


@pytest.mark.parametrize(
    "reference", ["rate@", "rate@0", "rate@01", "rate@1.5", "rate@-1", "rate@one", "rate@²", "rate@1@2"]
)
def test_a_reference_that_is_none_is_refused(project: Any, reference: str) -> None:
    project.declare("rate")
    with pytest.raises(InputError, match="must be NAME, NAME@VERSION or NAME@dev"):
        resolve_name(project.root, reference)


@pytest.mark.parametrize("reference", ["../rate@1", "/etc/passwd", "ablations/rate", "", "@1", "a\0b@1"])
def test_a_reference_that_is_a_path_is_refused(project: Any, reference: str) -> None:
    with pytest.raises(InputError, match="must be 1 to 100 letters"):
        resolve_name(project.root, reference)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('"learning_rate": 0.005', '"learning_rate": 0.006', "changed by hand or damaged"),
        ('"steps": 20', '"steps": -20', "designs.tiny.recipe.schedule.steps=-20"),
        ('"schema": 1', '"schema": 99', "has schema 99"),
        ('"name": "rate"', '"name": "rite"', "changed by hand or damaged"),
        ('"digest"', '"digits"', "KeyError"),
        ("{", "", "is damaged"),
    ],
)
def test_a_damaged_pinned_file_is_noticed(project: Any, old: str, new: str, fault: str) -> None:
    project.declare("rate")
    path = lock(project.root, "rate")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    for reference in ("rate", "rate@1"):
        with pytest.raises(InputError, match=fault):
            resolve_name(project.root, reference)


def test_a_pinned_file_under_another_number_is_noticed(project: Any) -> None:
    project.declare("rate")
    path = lock(project.root, "rate")
    path.rename(path.with_name("rate@2.json"))
    with pytest.raises(InputError, match="holds rate@1"):
        resolve_name(project.root, "rate@2")


def test_paths_of_data_are_not_content(project: Any) -> None:
    """Execution fields may follow the machine: they are in the pinned file, and no drift."""
    project.declare("rate")
    lock(project.root, "rate")
    scales = project.root / "experiments/scales.py"
    scales.write_text(scales.read_text().replace("word_budget=None", "word_budget=10_000"))
    chosen = resolve_name(project.root, "rate")
    assert chosen.label == "rate@1"
    assert chosen.ablation.design("tiny").recipe.corpus.word_budget == 10_000
