"""From directories to the comparison, its files, its table and its picture."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ablab.analysis import Comparison, compare, plot_effects, render, write_files
from ablab.analysis.report.contents import scores_table
from ablab.errors import InputError
from ablab.spec import Arm, Claim, Design, Recipe, Replicate

Write = Callable[..., Path]
Answers = Callable[..., Any]
MakeDesign = Callable[..., Design]
MakeClaim = Callable[..., Claim]
Results = dict[str, list[Path | None]]

SEEDS = [(1, 1), (2, 2)]
FILES = ("scores", "effects", "relative", "components", "oracle", "claims")


@pytest.fixture
def results(write_result: Write, random_answers: Answers) -> Results:
    def arm(first: int, shift: float) -> list[Path | None]:
        return [write_result(random_answers(first + i, shift), perplexity=20.0 + first + i) for i in range(2)]

    return {"real": arm(0, 0.0), "mixed": arm(10, 0.8), "masked": arm(20, 0.2)}


@pytest.fixture
def comparison(
    make_design: MakeDesign,
    make_claim: MakeClaim,
    results: Results,
    write_result: Write,
    random_answers: Answers,
) -> Comparison:
    claims = [make_claim(), make_claim(id="mask", arm="masked", against="mixed", metric="linguistic", direction="less")]
    return compare(
        make_design(SEEDS, claims),
        results,
        floor=write_result(random_answers(90, -0.5), perplexity=60.0, precision=None),
        models={"GOOD": [write_result(random_answers(91))], "BAD step 10": [write_result(random_answers(92, -0.4))]},
    )


def printed(comparison: Comparison, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    render(comparison, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_every_arm_meets_the_control_and_every_claims_arms_meet_in_every_metric(comparison: Comparison) -> None:
    names = [metric.name for metric in comparison.metrics]
    suites = ["minimal_pairs", "qa_congruence", "entity_tracking"]
    assert names == [*suites, "linguistic", "reasoning", "aggregate", "perplexity"]
    pairs = [("mixed", "real"), ("masked", "real"), ("masked", "mixed")]
    assert [(e.arm, e.against, e.metric) for e in comparison.effects] == [(*p, n) for p in pairs for n in names]
    assert [claim.effect for claim in comparison.claims] == [
        comparison.effect("mixed", "real", "reasoning"),
        comparison.effect("masked", "mixed", "linguistic"),
    ]


def test_scores_are_the_stored_ones_and_groups_their_means(comparison: Comparison, results: Results) -> None:
    stored = [json.loads((p / "result.json").read_text())["suites"] for p in results["mixed"] if p]
    assert comparison.score("mixed", "qa_congruence").values == tuple(s["qa_congruence"]["score"] for s in stored)
    reasoning = [(s["qa_congruence"]["score"] + s["entity_tracking"]["score"]) / 2 for s in stored]
    found = comparison.score("mixed", "reasoning")
    assert found.values == pytest.approx(tuple(reasoning))
    assert found.mean == pytest.approx(sum(reasoning) / 2)
    assert found.spread == pytest.approx(abs(reasoning[0] - reasoning[1]) / 2**0.5)
    assert [reference.name for reference in comparison.references] == ["5-gram", "GOOD", "BAD step 10"]


def test_missing_arms_and_replicates_are_listed_and_their_claims_not_run(
    make_design: MakeDesign, make_claim: MakeClaim, results: Results
) -> None:
    del results["masked"]
    results["mixed"][1] = None
    claims = [make_claim(), make_claim(id="mask", arm="masked", against="mixed")]
    found = compare(make_design(SEEDS, claims), results)
    assert found.missing == ("mixed t2-g2", "masked t1-g1", "masked t2-g2")
    assert [claim.verdict for claim in found.claims][1] == "not run"
    assert "from 1 of 2 replicates" in found.claims[0].words
    table = printed(found)
    assert "Missing: all of masked, mixed t2-g2" in table
    header = next(line for line in table.splitlines() if "masked" in line)
    first = next(line for line in table.splitlines() if line.strip().startswith("minimal_pairs"))
    assert first[header.index("masked") + len("masked") - 1] == "-"
    assert found.score("masked", "reasoning").mean is None


def test_no_claim_is_judged_between_arms_with_identical_corpora(
    make_design: MakeDesign, make_claim: MakeClaim, results: Results
) -> None:
    claims = [make_claim(), make_claim(id="mask", arm="masked", against="mixed")]
    found = compare(make_design(SEEDS, claims), results, identical=[frozenset({"mixed", "masked"})])
    other, mask = found.claims
    assert (mask.verdict, mask.p, mask.p_holm) == ("not judged", None, None)
    assert mask.words.endswith("their corpora are identical: the manipulation did nothing")
    assert other.p is not None
    assert found.notes[-1].startswith("masked and mixed: their corpora are identical")
    assert "not judged" in printed(found)


def test_nothing_at_all_is_refused(make_design: MakeDesign) -> None:
    with pytest.raises(InputError, match="no arm has a result"):
        compare(make_design(SEEDS), {})


def test_names_and_numbers_of_results_must_be_the_designs(make_design: MakeDesign, results: Results) -> None:
    with pytest.raises(InputError) as error:
        compare(make_design([*SEEDS, (3, 3)]), {"mixd": [], "real": results["real"]})
    assert len(error.value.faults) == 2
    assert "did you mean 'mixed'" in str(error.value)
    assert "arm real has 2 results, the design 3 replicates" in str(error.value)


def test_faults_of_several_directories_are_reported_together(
    make_design: MakeDesign, results: Results, tmp_path: Path
) -> None:
    results["real"][0], results["mixed"][1] = tmp_path / "nowhere", tmp_path / "elsewhere"
    with pytest.raises(InputError) as error:
        compare(make_design(SEEDS), results)
    assert len(error.value.faults) == 2


def test_arms_in_other_precision_are_refused(
    make_design: MakeDesign, results: Results, write_result: Write, random_answers: Answers
) -> None:
    results["masked"][0] = write_result(random_answers(5), precision="bf16")
    with pytest.raises(InputError, match=r"masked t1-g1 cannot be compared with real t1-g1: .* different precision"):
        compare(make_design(SEEDS), results)


def test_a_suite_that_the_design_declares_must_be_there(
    make_design: MakeDesign, write_result: Write, random_answers: Answers
) -> None:
    answers = random_answers(1)
    del answers["entity_tracking"]
    with pytest.raises(InputError, match="judges by entity_tracking"):
        compare(make_design([(1, 1)]), {"real": [write_result(answers)]})


def test_replicates_with_one_training_seed_count_once(
    make_design: MakeDesign, write_result: Write, random_answers: Answers
) -> None:
    control = [write_result(random_answers(s)) for s in (1, 2)]
    results = {
        "real": [control[0], control[0], control[1], control[1]],
        "mixed": [write_result(random_answers(s, 0.5)) for s in (3, 4, 5, 6)],
    }
    found = compare(make_design([(1, 1), (1, 2), (2, 1), (2, 2)]), results)
    assert {effect.replicates for effect in found.effects} == {2}
    assert any("4 replicates share 2 training seeds" in note for note in found.notes)
    assert any("share generated corpora" in note for note in found.notes)


def test_the_same_results_give_the_same_bytes(comparison: Comparison, tmp_path: Path) -> None:
    once, again = write_files(comparison, tmp_path / "once"), write_files(comparison, tmp_path / "again")
    assert [path.name for path in once] == ["comparison.json", *(f"{name}.csv" for name in FILES)]
    assert [path.read_bytes() for path in once] == [path.read_bytes() for path in again]
    assert json.loads(comparison.to_json())["control"] == "real"


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_bits_per_byte_stand_beneath_perplexity_and_are_compared_with_nothing(comparison: Comparison) -> None:
    screen = Console(width=140, file=io.StringIO())
    render(comparison, screen)
    assert isinstance(screen.file, io.StringIO)
    rows = [" ".join(line.split()[:3]) for line in screen.file.getvalue().splitlines()]
    (found,) = (number for number, row in enumerate(rows) if row == "bits per byte")
    assert rows[found - 1].startswith("perplexity")
    assert [row[0] for row in scores_table(comparison).rows][-2:] == ["perplexity", "bits per byte"]
    assert comparison.score("mixed", "bits per byte").mean == 1.0
    assert {effect.metric for effect in comparison.effects} == {metric.name for metric in comparison.metrics}


def test_csv_rows_hold_scores_both_inferences_and_verdicts(comparison: Comparison, tmp_path: Path) -> None:
    _, scores, effects, *_, claims = write_files(comparison, tmp_path)
    assert len(rows_of(scores)) == (3 * 2 + 3) * 8  # arms x replicates and references, times metrics and bits per byte
    rows = [row for row in rows_of(effects) if (row["arm"], row["against"]) == ("mixed", "real")]
    reasoning = [row for row in rows if row["metric"] == "reasoning"]
    study = "the study's: items drawn again, bounds averaged over seeds"
    assert [row["inference"] for row in reasoning] == ["new items and replicates", "new replicates", study]
    effect = comparison.effect("mixed", "real", "reasoning")
    assert effect is not None
    assert effect.interval is not None
    assert [float(reasoning[0][name]) for name in ("estimate", "low", "high", "p", "df", "se")] == [
        effect.estimate,
        effect.interval.low,
        effect.interval.high,
        effect.p,
        effect.interval.df,
        effect.interval.se,
    ]
    assert (rows[-1]["metric"], rows[-1]["unit"], rows[-1]["n_items"]) == ("perplexity", "%", "")
    assert [row["verdict"] for row in rows_of(claims)] == [claim.verdict for claim in comparison.claims]


@pytest.mark.parametrize("width", [60, 80, 100])
def test_the_table_fits_its_width_without_colour_and_loses_no_number(comparison: Comparison, width: int) -> None:
    text = printed(comparison, width)
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= width
    for score in comparison.scores:
        assert f"{score.mean:.{2 if score.metric in ('perplexity', 'bits per byte') else 1}f}±" in text
    for effect in comparison.effects:
        if effect.against == comparison.control and effect.interval is not None:
            assert f"{effect.estimate:+z.1f} [{effect.interval.low:z.1f}, {effect.interval.high:z.1f}]" in text
    flat = " ".join(text.split())
    for claim in comparison.claims:
        assert claim.statement in flat
        assert claim.words in flat


def test_a_hundred_columns_hold_four_arms_and_three_references(comparison: Comparison) -> None:
    assert printed(comparison, 100).count("entity_tracking") == 2  # once with scores, once with differences


@pytest.fixture
def many(make_recipe: Callable[[], Recipe], write_result: Write, random_answers: Answers) -> Comparison:
    """Thirteen arms, a suite without right answers with small scores, and two BADs, one trained for each replicate."""
    names = [f"an-arm-with-a-long-name-{i}" for i in range(13)]
    arms = tuple(Arm(name=name, edits={"schedule.learning_rate": 0.001 + i / 1e5}) for i, name in enumerate(names))
    replicates = tuple(Replicate(train_seed=s, generation_seed=s) for s in (1, 2))
    design = Design(control="real", recipe=make_recipe(), arms=arms, replicates=replicates, claims=())

    def result(seed: int, shift: float = 0.0) -> Path:
        return write_result(
            random_answers(seed, shift), perplexity=20 + seed % 7, unjudged={"reading": seed * seed % 11 / 9}
        )

    results = {name: [result(9 * i, i / 20), result(9 * i + 1, i / 20)] for i, name in enumerate(["real", *names])}
    return compare(design, results, models={"BAD step 10": [result(900)], "BAD r5": [result(901), result(902)]})


@pytest.mark.parametrize("width", [70, 100])
def test_many_arms_are_rows_under_the_headline_metrics_and_no_number_is_lost(many: Comparison, width: int) -> None:
    text = printed(many, width)
    assert max(map(len, text.splitlines())) <= width
    lines = [line for line in text.splitlines() if line.strip().startswith("an-arm-with-a-long-name-12")]
    headline = many.score("an-arm-with-a-long-name-12", "aggregate").mean
    assert lines[0].split()[1].startswith(f"{headline:.1f}±")
    digits = {metric.name: metric.decimals for metric in many.metrics}
    assert digits == {name: 2 if name in ("reading", "human-likeness") else 1 for name in digits}
    for effect in many.effects:
        assert effect.interval is not None
        n = digits[effect.metric]
        low, high = effect.interval.low, effect.interval.high
        assert f"{effect.estimate:+z.{n}f} [{low:z.{n}f}, {high:z.{n}f}]" in text


def test_several_models_of_one_name_are_averaged(many: Comparison) -> None:
    one, several = many.references
    assert (one.name, one.models, several.name, several.models) == ("BAD step 10", 1, "BAD r5", 2)
    assert several.scores["perplexity"] == pytest.approx((20 + 901 % 7 + 20 + 902 % 7) / 2)


def test_a_note_says_of_which_suites_no_item_has_a_value(many: Comparison, comparison: Comparison) -> None:
    assert any("of reading (r2-increment) no values of single items are stored" in note for note in many.notes)
    assert not any("single items" in note for note in comparison.notes)


def test_a_plot_of_many_arms_is_no_taller_than_a_page(many: Comparison, tmp_path: Path) -> None:
    plot_effects(many, tmp_path / "effects.png")
    head = (tmp_path / "effects.png").read_bytes()[16:24]
    width, height = int.from_bytes(head[:4], "big"), int.from_bytes(head[4:], "big")
    assert height < 1.3 * width


def test_the_aggregate_is_the_mean_over_all_suites_and_a_claim_may_judge_by_it(
    make_design: MakeDesign, make_claim: MakeClaim, results: Results
) -> None:
    found = compare(make_design(SEEDS, [make_claim(metric="aggregate")]), results)
    suites = [found.score("mixed", m.name).mean for m in found.metrics if m.kind == "suite"]
    assert found.score("mixed", "aggregate").mean == pytest.approx(sum(s for s in suites if s is not None) / 3)
    assert found.claims[0].effect == found.effect("mixed", "real", "aggregate")


def test_a_plot_is_drawn_and_drawn_again_alike(comparison: Comparison, tmp_path: Path) -> None:
    plot_effects(comparison, tmp_path / "one" / "effects.png")
    plot_effects(comparison, tmp_path / "other.png")
    content = (tmp_path / "one" / "effects.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) > 10_000
    assert content == (tmp_path / "other.png").read_bytes()


def test_importing_the_analysis_loads_neither_scipy_nor_matplotlib_nor_torch() -> None:
    program = "import sys, ablab.analysis; print(sorted({'scipy', 'matplotlib', 'torch', 'pandas'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
