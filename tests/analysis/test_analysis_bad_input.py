"""What stored results may lack, hold twice or hold differently: refused with the reason, or said for what it is."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from ablab.analysis import compare, load_result, plot_effects, render, write_files
from ablab.analysis.comparable import REASONS, check_comparable
from ablab.analysis.power import metric_powers
from ablab.errors import InputError
from ablab.spec import Design

Write = Callable[..., Path]
Answers = Callable[..., Any]
MakeDesign = Callable[..., Design]
SEEDS = [(1, 1), (2, 2)]


def edited(directory: Path, name: str, change: Callable[[Any], None]) -> Path:
    """The directory with one of its JSON files changed."""
    value = json.loads((directory / name).read_text("utf-8"))
    change(value)
    (directory / name).write_text(json.dumps(value), "utf-8")
    return directory


@pytest.mark.parametrize("field", REASONS)
def test_every_difference_in_how_models_were_judged_is_refused_with_its_reason(
    write_result: Write, random_answers: Answers, field: str
) -> None:
    def change(stage: dict[str, Any]) -> None:
        where = "params" if field in stage["params"] else "inputs"
        stage[where][field] = {"precision": "bf16", "test_tokens": 9}.get(field, "e" * 64)

    one = load_result(write_result(random_answers(1)))
    other = load_result(edited(write_result(random_answers(2)), "stage.json", change))
    with pytest.raises(InputError) as error:
        check_comparable([("real", one), ("mixed", other)])
    assert [REASONS[field] in fault and fault.startswith("mixed cannot be") for fault in error.value.faults] == [True]


def test_a_reason_is_told_once_whatever_number_of_results_it_concerns(
    write_result: Write, random_answers: Answers
) -> None:
    one, *others = (load_result(write_result(random_answers(s), precision="bf16" if s else "fp32")) for s in range(6))
    with pytest.raises(InputError) as error:
        check_comparable([("real", one), *((f"arm-{n}", other) for n, other in enumerate(others))])
    assert len(error.value.faults) == 1
    assert error.value.faults[0].startswith("arm-0, arm-1, arm-2 and 2 more cannot be compared with real: ")


def test_other_items_of_equal_tasks_are_refused_by_name(write_result: Write, random_answers: Answers) -> None:
    one, other = load_result(write_result(random_answers(1))), load_result(write_result(random_answers(2, items=21)))
    with pytest.raises(InputError, match=r"items differ \(5 more, 0 fewer, for example entity_tracking/one/20\)"):
        check_comparable([("real", one), ("mixed", other)])


def test_an_arm_with_a_part_of_the_suites_is_refused(
    make_design: MakeDesign, write_result: Write, random_answers: Answers
) -> None:
    part = {suite: tasks for suite, tasks in random_answers(2).items() if suite != "qa_congruence"}
    results: Mapping[str, list[Path | None]] = {
        "real": [write_result(random_answers(1)), None],
        "mixed": [write_result(part), None],
    }
    with pytest.raises(InputError, match=r"mixed t1-g1 cannot be compared with real t1-g1: suites or groups differ"):
        compare(make_design(SEEDS), results)


def test_arms_with_different_replicates_meet_in_those_they_share(
    make_design: MakeDesign, make_claim: Callable[..., Any], write_result: Write, random_answers: Answers
) -> None:
    one, two, three = (write_result(random_answers(seed)) for seed in range(3))
    found = compare(make_design(SEEDS, [make_claim()]), {"real": [one, two], "mixed": [None, three]})
    effect = found.effect("mixed", "real", "reasoning")
    assert effect is not None
    assert (effect.replicates, effect.interval and effect.interval.inference) == (1, "new items")
    assert "mixed t1-g1" in found.missing
    assert "from 1 of 2 replicates" in found.claims[0].words
    apart = compare(make_design(SEEDS, [make_claim()]), {"real": [one, None], "mixed": [None, three]})
    assert apart.effects == ()
    assert (apart.claims[0].verdict, apart.claims[0].p) == ("not run", None)
    assert "no results to pair" in apart.claims[0].words


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("replicates", [1, 2])
def test_constant_scores_conclude_nothing_and_are_shown(
    make_design: MakeDesign,
    make_claim: Callable[..., Any],
    write_result: Write,
    random_answers: Answers,
    tmp_path: Path,
    right: bool,
    replicates: int,
) -> None:
    answers = {s: {t: np.full(len(a), right) for t, a in of.items()} for s, of in random_answers(0).items()}
    paths = [write_result(answers) for _ in range(replicates)]
    design = make_design(SEEDS[:replicates], [make_claim(), make_claim(id="ppl", metric="perplexity")])
    found = compare(design, {"real": list(paths), "mixed": list(paths)})
    assert {claim.verdict for claim in found.claims} == {"inconclusive"}
    assert all(effect.estimate == 0.0 for effect in found.effects)
    screen = Console(width=100, file=io.StringIO())
    render(found, screen)
    write_files(found, tmp_path)
    plot_effects(found, tmp_path / "effects.svg")
    assert isinstance(screen.file, io.StringIO)
    assert "+0.0 " in screen.file.getvalue()
    with pytest.raises(InputError, match="some difference between them"):
        metric_powers(found, 1.0)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_a_score_that_is_missing_or_no_number_is_refused(
    write_result: Write, random_answers: Answers, value: float | None
) -> None:
    def change(result: dict[str, Any]) -> None:
        result["suites"]["qa_congruence"]["score"] = value

    with pytest.raises(InputError, match=r"qa_congruence has the score|is not the result of an evaluation"):
        load_result(edited(write_result(random_answers(1)), "result.json", change))


def test_one_item_leaves_no_interval_for_new_items_and_says_so(
    make_design: MakeDesign, make_claim: Callable[..., Any], write_result: Write
) -> None:
    tasks = {"minimal_pairs": "a", "qa_congruence": "b", "entity_tracking": "c"}
    results: dict[str, list[Path | None]] = {
        arm: [write_result({s: {t: np.array([right])} for s, t in tasks.items()}) for right in answers]
        for arm, answers in (("real", (True, False)), ("mixed", (True, True)))
    }
    found = compare(make_design(SEEDS, [make_claim()]), results)
    effect = found.effect("mixed", "real", "reasoning")
    assert effect is not None
    assert (effect.interval, effect.p, effect.detectable) == (None, None, None)
    assert found.claims[0].verdict == "inconclusive"
    assert "no interval" in found.claims[0].words
