"""Data frames and HTML of a comparison: the same numbers, nothing unescaped, pandas only when asked for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from ablab.analysis import Comparison, compare
from ablab.runner.plan import make_plan
from ablab.spec import Design
from ablab.spec.placement import Numerics
from ablab.store import Store

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def comparison(
    make_design: Callable[..., Design],
    make_claim: Callable[..., Any],
    write_result: Callable[..., Path],
    random_answers: Callable[..., Any],
) -> Comparison:
    design = make_design([(1, 1), (2, 2)], [make_claim(statement=HOSTILE)])
    arms = ("real", "mixed")
    return compare(
        design, {arm: [write_result(random_answers(10 * a + r)) for r in (0, 1)] for a, arm in enumerate(arms)}
    )


def test_frames_hold_the_stored_numbers_in_full(comparison: Comparison) -> None:
    scores, effects, claims = (comparison.to_pandas(what) for what in ("scores", "effects", "claims"))
    assert len(scores) == 2 * 2 * len([*comparison.metrics, *comparison.beside])
    one = effects[(effects.metric == "reasoning") & (effects.inference == "new items and replicates")].iloc[0]
    found = comparison.effect("mixed", "real", "reasoning")
    assert found is not None
    assert found.interval is not None
    assert (one.estimate, one.low, one.high) == (found.estimate, found.interval.low, found.interval.high)
    assert list(claims.verdict) == [comparison.claims[0].verdict]


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, _attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)


def tags(html: str) -> set[str]:
    parser = Tags()
    parser.feed(html)
    return parser.found


def test_a_notebook_shows_every_table_and_runs_nothing(comparison: Comparison) -> None:
    html = comparison._repr_html_()
    assert tags(html) <= {"style", "div", "table", "caption", "thead", "tbody", "tr", "th", "td", "p"}
    assert "&lt;script&gt;" in html
    for text in ("Claims", "Differences from real", "Scores in %", "reasoning", "perplexity"):
        assert text in html


def test_a_notebook_shows_a_plan_with_every_stage(make_design: Callable[..., Design], tmp_path: Path) -> None:
    design = make_design([(1, 1)])
    plan = make_plan(design, design.recipes(), Store(tmp_path), Numerics())
    html = plan._repr_html_()
    assert html.count("<tr>") == len(plan.stages) + 1
    assert "script" not in tags(html)
    assert all(key[:12] in html for key in plan.stages)
    assert f"To compute: {len(plan.stages)} of {len(plan.stages)} stages" in html


def test_the_analysis_alone_imports_no_pandas() -> None:
    code = "import ablab.analysis, ablab.analysis.notebook, ablab.runner.plan, sys; assert 'pandas' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
