"""Studies are declared, pinned and named as ablations are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tiny_helper import ROOT

from ablab.errors import InputError
from ablab.registry.declarations import load_declarations
from ablab.search.check import study_faults
from ablab.search.declared import choose_study, find_study, lock_study, pinned_path
from ablab.spec import lower

SOURCE = (ROOT / "experiments/studies/ratio_truncation.py").read_text()
NAMES = ("perplexity-reasoning", "ratio-truncation")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the shipped study, with what it imports."""
    for name in ("__init__", "scales", "arms", "tinybabylm", "babylm_suites"):
        target = tmp_path / "experiments" / f"{name}.py"
        target.parent.mkdir(exist_ok=True)
        target.write_text((ROOT / "experiments" / f"{name}.py").read_text())
    (tmp_path / "experiments/studies").mkdir()
    for name in ("_spaces", "ratio_truncation"):
        source = ROOT / "experiments/studies" / f"{name}.py"
        (tmp_path / "experiments/studies" / f"{name}.py").write_text(source.read_text())
    (tmp_path / "ablations").mkdir()
    return tmp_path


def edit_source(project: Path, before: str, after: str) -> None:
    path = project / "experiments/studies/ratio_truncation.py"
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after))


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_study_is_sound_at_every_scale(name: str) -> None:
    study = find_study(ROOT, name)
    assert set(study.designs) == {"tiny", "smoke", "small", "paper"}
    for scale, design in study.designs.items():
        assert study_faults(design, scale) == []


@pytest.mark.parametrize("name", NAMES)
def test_the_base_of_a_study_is_an_arm_of_the_ablations(name: str) -> None:
    """So that its first trial costs nothing where they have been run."""
    design = find_study(ROOT, name).design("smoke")
    ablation = load_declarations(ROOT).find("mixing-ratio").ablation.designs["smoke"]
    arm = ablation.recipes()["share-0.3"]
    assert design.replicates == ablation.replicates
    for replicate in design.replicates:
        own, other = (lower(recipe, replicate).roles["evaluate"].key for recipe in (design.recipe, arm))
        assert own == other


def test_values_that_change_training_alone_do_not_generate_again() -> None:
    from ablab.spec import edit

    design = find_study(ROOT, "ratio-truncation").design("smoke")
    one, other = (
        lower(edit(design.recipe, {"mixture.share": share}), design.replicates[0]).roles for share in (0.2, 0.7)
    )
    assert one["generate"].key == other["generate"].key
    assert one["train"].key != other["train"].key


def test_a_pinned_study_that_changed_is_refused_with_the_fields(project: Path) -> None:
    path, now = lock_study(project, "ratio-truncation"), find_study(project, "ratio-truncation").version
    assert path == pinned_path(project, "ratio-truncation", now)
    before = path.read_bytes()
    assert lock_study(project, "ratio-truncation").read_bytes() == before
    assert choose_study(project, "ratio-truncation").pinned
    edit_source(project, "(20, 50), trials=8", "(20, 51), trials=8")
    words = rf"designs\.smoke\.space\.synthetic\.decoding\.top_k\.choices; set version={now + 1}"
    for refused in (lambda: choose_study(project, "ratio-truncation"), lambda: lock_study(project, "ratio-truncation")):
        with pytest.raises(InputError, match=words):
            refused()
    assert choose_study(project, "ratio-truncation@dev").label == "ratio-truncation@dev"
    assert choose_study(project, f"ratio-truncation@{now}").study.designs["smoke"] != find_study(
        project, "ratio-truncation"
    ).design("smoke")
    edit_source(project, f"version={now}", f"version={now + 1}")
    assert choose_study(project, "ratio-truncation").label == f"ratio-truncation@{now + 1}"


def test_a_raised_budget_is_the_same_study(project: Path) -> None:
    lock_study(project, "ratio-truncation")
    edit_source(project, "trials=40", "trials=80")
    chosen = choose_study(project, "ratio-truncation")
    assert chosen.pinned and chosen.study.design("small").budget.trials == 80


def test_unknown_names_and_versions_and_damage_are_said(project: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'ratio-truncation'"):
        choose_study(project, "ratio-truncatoin")
    with pytest.raises(InputError, match="has no pinned version 7"):
        choose_study(project, "ratio-truncation@7")
    path = lock_study(project, "ratio-truncation")
    path.write_text(re.sub(r'"margin": 2.0', '"margin": 3.0', path.read_text()))
    with pytest.raises(InputError, match="was changed by hand or damaged"):
        choose_study(project, "ratio-truncation")
