"""Declarations are read by path, all faults together, and leave no trace in the process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from ablab.errors import InputError
from ablab.registry.declarations import load_declarations


def test_every_declaration_is_found_and_helper_files_are_not(project: Any) -> None:
    path = project.declare("rate")
    project.declare("again", file="zz_other_name.py")
    project.write("ablations/_shared.py", "raise RuntimeError('never imported')")
    project.write("ablations/notes.txt", "nothing")
    declarations = load_declarations(project.root)
    assert list(declarations.ablations) == ["again", "rate"]
    assert declarations.faults == []
    assert declarations.find("rate").path == path.resolve()
    assert declarations.find("rate").ablation.design("tiny").recipe.schedule.steps == 20


def test_projects_in_one_process_see_their_own_modules(project: Any, other_project: Any) -> None:
    other_project.write(
        "experiments/scales.py",
        (project.root / "experiments/scales.py").read_text().replace("STEPS = 20", "STEPS = 40"),
    )
    for one in (project, other_project):
        one.declare("rate")
    steps = [
        load_declarations(one.root).find("rate").ablation.design("tiny").recipe.schedule.steps
        for one in (project, other_project, project)
    ]
    assert steps == [20, 40, 20]


def test_an_edited_module_of_the_project_is_read_again(project: Any) -> None:
    project.declare("rate")
    load_declarations(project.root)
    scales = project.root / "experiments/scales.py"
    scales.write_text(scales.read_text().replace("STEPS = 20", "STEPS = 30"))
    assert load_declarations(project.root).find("rate").ablation.design("tiny").recipe.schedule.steps == 30


def test_loading_leaves_the_process_and_the_project_as_they_were(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    project.declare("rate")
    project.write("ablations/helped.py", "import sys\nsys.path.append('/nowhere')\nfrom ablations._shared import X")
    project.write("ablations/_shared.py", "X = 1")
    stranger = type(sys)("experiments")
    monkeypatch.setitem(sys.modules, "experiments", stranger)
    path, modules, no_bytecode = list(sys.path), set(sys.modules), sys.dont_write_bytecode
    assert list(load_declarations(project.root).ablations) == ["rate"]
    assert (sys.path, set(sys.modules), sys.dont_write_bytecode) == (path, modules, no_bytecode)
    assert sys.modules["experiments"] is stranger
    assert not list(project.root.rglob("*.pyc"))


def test_a_folder_named_like_a_standard_module_does_not_hide_it(project: Any) -> None:
    project.write("platform/readme.txt", "a source root, not a package")
    project.declare("rate")
    text = (project.root / "ablations/rate.py").read_text()
    project.write("ablations/rate.py", "import platform\nplatform.python_version()\n" + text)
    assert load_declarations(project.root).faults == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("X = (", "ablations/broken.py:1: does not import: SyntaxError"),
        ("\n\nimport no_such_module", "ablations/broken.py:3: does not import: ModuleNotFoundError: No module named"),
        (
            "from experiments.scales import no",
            "ablations/broken.py:1: does not import: ImportError: cannot import name",
        ),
        ("\nimport sys\nsys.exit(3)", "ablations/broken.py:3: does not import: SystemExit: 3"),
        ("X = 1", "ablations/broken.py: defines no ABLATION"),
        ("ABLATION = 3", "ablations/broken.py: ABLATION is a int"),
        ("\0", "ablations/broken.py: does not import:"),
    ],
)
def test_a_broken_file_is_named_with_its_line_and_hides_no_other(project: Any, text: str, fault: str) -> None:
    project.declare("rate")
    project.write("ablations/broken.py", text)
    declarations = load_declarations(project.root)
    assert declarations.find("rate").ablation.name == "rate"
    assert len(declarations.faults) == 1
    assert declarations.faults[0].startswith(fault)
    with pytest.raises(InputError, match=r"broken\.py"):
        declarations.find("broken")


def test_a_fault_in_a_module_of_the_project_names_both_lines(project: Any) -> None:
    project.write("experiments/scales.py", "\n\n\nraise KeyError('corpus')")
    project.declare("rate")
    (fault,) = load_declarations(project.root).faults
    assert fault.startswith("ablations/rate.py:3 (raised at experiments/scales.py:4): does not import: KeyError")


def test_all_faults_of_all_files_are_reported_together(project: Any) -> None:
    project.declare("../evil", version=0, file="typed.py")
    project.declare("far-factor", factor="schedule.steps")
    project.write("ablations/broken.py", "1/0")
    faults = load_declarations(project.root).faults
    for part in (
        "broken.py:1: does not import: ZeroDivisionError",
        "Ablation: name='../evil'",
        "Ablation: version=0",
        "ablations/far_factor.py: tiny: claim faster-helps",
    ):
        assert [fault for fault in faults if part in fault], (part, faults)
    assert len(faults) == 4


def test_two_ablations_with_one_name_are_refused_with_both_files(project: Any) -> None:
    project.declare("rate")
    project.declare("rate", file="copy.py")
    project.declare("other")
    declarations = load_declarations(project.root)
    assert list(declarations.ablations) == ["other"]
    with pytest.raises(InputError, match=r"ablations/copy\.py and ablations/rate\.py declare the same name 'rate'"):
        declarations.find("rate")


def test_an_unknown_name_gets_the_nearest_and_the_faults_that_may_hide_it(project: Any) -> None:
    project.declare("learning-rate")
    project.write("ablations/broken.py", "1/0")
    with pytest.raises(InputError) as raised:
        load_declarations(project.root).find("learning-rat")
    assert "did you mean 'learning-rate'?" in raised.value.faults[0]
    assert "ZeroDivisionError" in raised.value.faults[1]


@pytest.mark.parametrize("name", ["", ".", "../x", "/etc/passwd", "a/b", "a\\b", "a b", "-x", "a\n", "é", "x" * 101])
def test_a_name_that_is_a_path_is_refused(project: Any, name: str) -> None:
    with pytest.raises(InputError, match="must be 1 to 100 letters"):
        load_declarations(project.root).find(name)


def test_a_project_without_declarations_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no folder ablations/"):
        load_declarations(tmp_path).find("rate")
