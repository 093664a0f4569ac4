"""The study's checkpoint rule: the best step on the suites themselves, kept apart from held-out selection."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from ablab.analysis import Comparison, compare, load_result, render, write_files
from ablab.analysis.comparable import check_comparable
from ablab.analysis.curve import load_curve
from ablab.analysis.oracle import best_of, oracle
from ablab.analysis.results import ArmResults
from ablab.errors import InputError
from ablab.spec import Design

Answers = Mapping[str, Mapping[str, Any]]
GROUPS = {"minimal_pairs": "linguistic", "qa_congruence": "reasoning", "entity_tracking": "reasoning"}
STEPS = (5, 10, 20)
SEEDS = [(1, 1), (2, 2)]


@pytest.fixture
def write_curve(tmp_path: Path) -> Callable[..., Path]:
    """Writes a directory as the stage `curve` does, from the answers at every step."""
    numbers = itertools.count()

    def write(by_step: Sequence[Answers], steps: Sequence[int] = STEPS) -> Path:
        directory = tmp_path / f"curve-{next(numbers)}"
        directory.mkdir()
        means = [{s: float(np.mean([100 * np.mean(t) for t in of.values()])) for s, of in a.items()} for a in by_step]
        suites = {s: {"group": GROUPS[s], "chance": 50.0, "scores": [one[s] for one in means]} for s in by_step[0]}
        mean = [float(np.mean(list(one.values()))) for one in means]
        result = {"steps": list(steps), "suites": suites, "aggregate": mean}
        (directory / "result.json").write_text(json.dumps(result), "utf-8")
        rows = [
            {"step": step, "item": f"{suite}/{task}/{i}", "suite": suite, "task": task, "correct": bool(right)}
            for step, answers in zip(steps, by_step, strict=True)
            for suite, tasks in answers.items()
            for task, values in tasks.items()
            for i, right in enumerate(values)
        ]
        pq.write_table(pa.Table.from_pylist(rows), directory / "items.parquet")
        return directory

    return write


@pytest.fixture
def comparison(
    make_design: Callable[..., Design],
    write_result: Callable[..., Path],
    write_curve: Callable[..., Path],
    random_answers: Callable[..., Any],
) -> Comparison:
    """Two arms with learning curves, whose last step is judged."""
    results: dict[str, list[Path | None]] = {"real": [], "mixed": []}
    curves: dict[str, list[Path | None]] = {"real": [], "mixed": []}
    for row, arm in enumerate(results):
        for replicate in range(2):
            by_step = [random_answers(100 * row + 10 * replicate + s, 0.2 * row) for s in range(3)]
            curves[arm].append(write_curve(by_step))
            results[arm].append(write_result(by_step[-1]))
    return compare(make_design(SEEDS), results, curves=curves)


def test_every_suite_is_taken_at_its_own_best_step(
    write_curve: Callable[..., Path], write_result: Callable[..., Path], random_answers: Callable[..., Any]
) -> None:
    by_step = [random_answers(seed) for seed in range(3)]
    found = best_of(load_curve(write_curve(by_step)), load_result(write_result(by_step[-1])))
    stored = [load_result(write_result(answers)) for answers in by_step]
    for suite in GROUPS:
        best = max(range(3), key=lambda step: stored[step].scores[suite].score)
        assert found.scores[suite].score == pytest.approx(stored[best].scores[suite].score)
        assert found.scores[suite].tasks == pytest.approx(stored[best].scores[suite].tasks)
        columns = found.suites == suite
        assert list(found.answers[columns]) == list(stored[best].answers[columns])
    assert (found.selection, found.step) == ("oracle", None)


def test_the_best_step_keeps_the_stories_of_the_items_that_the_curve_holds(
    write_curve: Callable[..., Path], write_result: Callable[..., Path], random_answers: Callable[..., Any]
) -> None:
    """Two rows of a suite with the same number share a story; of the judged evaluation every row is its own."""
    by_step = [random_answers(seed) for seed in range(3)]
    directory = write_curve(by_step)
    table = pq.read_table(directory / "items.parquet")
    stories = [f"{row['suite']}/#{int(row['item'].rpartition('/')[2]) // 2}" for row in table.to_pylist()]
    pq.write_table(table.append_column("cluster", pa.array(stories)), directory / "items.parquet")
    found = best_of(load_curve(directory), load_result(write_result(by_step[-1])))
    told = [f"{i.split('/')[0]}/#{int(i.rpartition('/')[2]) // 2}" for i in found.items.tolist()]
    assert (
        len({*zip(told, found.clusters.tolist(), strict=True)}) == len(set(told)) == len(set(found.clusters.tolist()))
    )


def test_oracle_scores_are_never_below_held_out_ones_and_the_study_bootstrap_is_of_the_best_items(
    comparison: Comparison,
) -> None:
    found = comparison.oracle
    assert found is not None
    assert found.steps == STEPS
    for score in found.scores:
        held = comparison.score(score.arm, score.metric)
        assert all(a is not None and b is not None and a >= b for a, b in zip(score.values, held.values, strict=True))
    by_metric = {effect.metric: effect for effect in found.effects}
    assert list(by_metric) == [*GROUPS, "aggregate"]
    for metric in GROUPS:
        means = {s.arm: s.mean for s in found.scores if s.metric == metric}
        assert by_metric[metric].estimate == pytest.approx((means["mixed"] or 0.0) - (means["real"] or 0.0))
        held_out = comparison.effect("mixed", "real", metric)
        assert held_out is not None
        assert by_metric[metric].held_out == pytest.approx(held_out.estimate)
        low, high = by_metric[metric].low, by_metric[metric].high
        assert low is not None
        assert high is not None
        assert low <= by_metric[metric].estimate <= high
    assert by_metric["aggregate"].estimate == pytest.approx(np.mean([by_metric[m].estimate for m in GROUPS]))


def test_oracle_selection_is_labelled_wherever_it_is_shown(comparison: Comparison, tmp_path: Path) -> None:
    screen = Console(width=100, file=io.StringIO())
    render(comparison, screen)
    assert isinstance(screen.file, io.StringIO)
    shown = screen.file.getvalue()
    assert "oracle selection: best of 3 checkpoints on the suites themselves" in shown
    assert "no verdict rests on" in " ".join(shown.split())
    files = {path.name: path for path in write_files(comparison, tmp_path)}
    rows = files["oracle.csv"].read_text().splitlines()
    assert rows[0] == "arm,against,metric,oracle,study_low,study_high,held_out,n_steps"
    assert len(rows) == 5


def test_held_out_is_of_the_items_that_the_curves_hold(
    write_curve: Callable[..., Path], write_result: Callable[..., Path], random_answers: Callable[..., Any]
) -> None:
    arms, curves, wanted = [], {}, {}
    for seed, name in enumerate(("real", "mixed")):
        whole = random_answers(seed)
        first = {suite: {task: list(right)[:7] for task, right in tasks.items()} for suite, tasks in whole.items()}
        arms.append(ArmResults(name, (load_result(write_result(whole)),)))
        curves[name] = [load_curve(write_curve([first] * 3))]
        wanted[name] = {s: np.mean([100 * np.mean(right) for right in tasks.values()]) for s, tasks in first.items()}
    found = oracle(arms, curves, "real", list(GROUPS), set())
    assert found is not None
    for effect in found.effects[:-1]:
        assert effect.held_out == pytest.approx(wanted["mixed"][effect.metric] - wanted["real"][effect.metric])
        assert effect.held_out == pytest.approx(effect.estimate)  # the same model at every step
    assert found.notes == ()


def test_arms_that_were_looked_at_more_or_less_often_are_named(
    write_curve: Callable[..., Path], write_result: Callable[..., Path], random_answers: Callable[..., Any]
) -> None:
    answers = random_answers(1)
    arms = [ArmResults(name, (load_result(write_result(answers)),)) for name in ("real", "mixed")]
    curves = {
        "real": [load_curve(write_curve([answers] * 3))],
        "mixed": [load_curve(write_curve([answers] * 2, STEPS[:2]))],
    }
    found = oracle(arms, curves, "real", list(GROUPS), set())
    assert found is not None
    (note,) = found.notes
    assert "real 3, mixed 2" in note


def test_without_learning_curves_nothing_is_said_of_an_oracle(
    make_design: Callable[..., Design], write_result: Callable[..., Path], random_answers: Callable[..., Any]
) -> None:
    assert compare(make_design(SEEDS), {"real": [write_result(random_answers(1)), None]}).oracle is None


def test_curves_over_some_of_the_studys_suites_are_a_mean_of_these(
    write_curve: Callable[..., Path], write_result: Callable[..., Path]
) -> None:
    answers = {"entity_tracking": {"a": [True, False, True]}}
    result = load_result(write_result(answers))
    arms = [ArmResults(name, (result,)) for name in ("real", "mixed")]
    curves = {arm.arm: [load_curve(write_curve([answers] * 3))] for arm in arms}
    found = oracle(arms, curves, "real", ["blimp", "entity_tracking"], {"blimp", "entity_tracking"})
    assert found is not None
    assert [term.metric for term in found.relative[0].terms] == ["entity_tracking"]
    assert "blimp" in found.relative[0].missing


def test_oracle_selection_is_refused_beside_held_out_selection(
    write_curve: Callable[..., Path], write_result: Callable[..., Path], random_answers: Callable[..., Any]
) -> None:
    held = load_result(write_result(random_answers(1)))
    best = best_of(load_curve(write_curve([random_answers(s) for s in range(3)])), held)
    with pytest.raises(InputError, match=r"selected by different rules \(oracle and held-out\)"):
        check_comparable([("real", held), ("mixed", best)])


def test_more_checkpoints_to_choose_from_raise_every_score_and_say_nothing_of_the_arm(
    write_curve: Callable[..., Path], write_result: Callable[..., Path], random_answers: Callable[..., Any]
) -> None:
    """Equal models, one looked at more often: the oracle finds it better."""
    answers = [random_answers(seed) for seed in range(16)]
    judged = load_result(write_result(answers[-1]))
    few, many = (
        best_of(load_curve(write_curve(answers[-n:], range(1, n + 1))), judged).scores["minimal_pairs"] for n in (1, 16)
    )
    assert few.score == judged.scores["minimal_pairs"].score
    assert many.score > few.score + 2.0


@pytest.mark.parametrize("fault", ["a step without items", "no steps", "no result", "fewer scores"])
def test_a_curve_that_does_not_fit_is_refused(
    write_curve: Callable[..., Path], random_answers: Callable[..., Any], fault: str
) -> None:
    directory = write_curve([random_answers(s) for s in range(3)])
    result = json.loads((directory / "result.json").read_text())
    if fault == "a step without items":
        result["steps"][2] = 40
    elif fault == "no steps":
        del result["steps"]
    elif fault == "fewer scores":
        result["suites"]["minimal_pairs"]["scores"].pop()
    (directory / "result.json").write_text(json.dumps(result))
    if fault == "no result":
        (directory / "result.json").unlink()
    with pytest.raises(InputError, match="curve"):
        load_curve(directory)


def test_arms_without_a_curve_stay_out(
    make_design: Callable[..., Design],
    write_result: Callable[..., Path],
    write_curve: Callable[..., Path],
    random_answers: Callable[..., Any],
) -> None:
    results: dict[str, list[Path | None]] = {
        arm: [write_result(random_answers(i)), None] for i, arm in enumerate(("real", "mixed"))
    }
    curve = write_curve([random_answers(s) for s in range(3)])
    found = compare(make_design(SEEDS), results, curves={"real": [curve, None], "mixed": [None, None]}).oracle
    assert found is not None
    assert ({score.arm for score in found.scores}, found.effects) == ({"real"}, ())
