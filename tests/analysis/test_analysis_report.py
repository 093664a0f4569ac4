"""The page and the parts for a paper: escaped, self-contained, the same bytes every time."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from ablab.analysis import compare
from ablab.analysis.apart import Apart
from ablab.analysis.corpora import CorpusRow
from ablab.analysis.report import ClaimRecord, Material, build_page, build_report
from ablab.analysis.report.arms import arm_texts, factor_curves
from ablab.analysis.report.build import for_latex
from ablab.analysis.report.material import (
    Cost,
    Costs,
    Environment,
    LearningCurves,
    Line,
    Provenance,
    Run,
    Samples,
    ScoreCurves,
    StageText,
)
from ablab.analysis.report.page import make_page
from ablab.analysis.report.tables import Table, latex, to_csv, to_html, to_latex
from ablab.spec import Arm, Design

HOSTILE = '<script>alert("x")</script>&amp;\x00</pre><img src=x onerror=alert(1)>'
LATEX_SPECIALS = r"100 % of $x_1$ & \input{/etc/passwd} #1 ~ ^ {a}"
COST = Cost(2, 0.5, 0.25, 100.0, 1e12)


def design_of(make_design: Callable[..., Design], claims: list[Any]) -> Design:
    """`real`, `mixed`, `masked` and two more shares: four numbers that make a curve."""
    design = make_design([(1, 1), (2, 2)], claims)
    more = (Arm(name=f"share-{share}", of="mixed", edits={"mixture.share": share}) for share in (0.6, 0.9))
    return design.model_copy(update={"arms": (*design.arms, *more)})


@pytest.fixture
def material(
    make_design: Callable[..., Design],
    make_claim: Callable[..., Any],
    write_result: Callable[..., Path],
    random_answers: Callable[..., Any],
) -> Material:
    """A small design whose every text that can come from outside is hostile."""
    design = design_of(make_design, [make_claim(statement=HOSTILE + LATEX_SPECIALS)])
    results: dict[str, list[Path | None]] = {
        arm: [write_result(random_answers(10 * row + r, 0.2 * row)) for r in range(2)]
        for row, arm in enumerate(design.arm_names())
    }
    comparison = compare(design, results)
    line = Line("mixed", (64.0, 128.0), (5.0, 4.0), (4.9, 3.9), (5.1, 4.1), 2)
    return Material(
        name="shares",
        question=HOSTILE,
        design=design,
        comparison=comparison,
        arms=arm_texts(design, comparison),
        claims={"helps": ClaimRecord("written afterwards", HOSTILE)},
        tasks=(),
        curves=LearningCurves(
            (line,),
            (line,),
            (
                ScoreCurves("aggregate", "aggregate", "", None, (line,)),
                ScoreCurves("agreement", "task", "minimal_pairs", 50.0, (line,)),
            ),
        ),
        factors=factor_curves(design, comparison),
        corpora=(CorpusRow("mixed", 2, {"tokens": 1000.0, "distinct_2": 0.5}),),
        apart=(Apart(("mixed",), (HOSTILE,), 0.25, (None, 0.5)),),
        real={},
        samples=(Samples("mixed", (HOSTILE, LATEX_SPECIALS)),),
        costs=Costs({"mixed": COST}, {"mixed": COST}, {"train": COST}, COST, COST, 0),
        provenance=Provenance(
            label="shares@1",
            scale="tiny",
            design_digest="d" * 64,
            edits={"schedule.steps": "3"},
            runs=(Run("a" * 32, "shares@1", "finished", "2025-01-02T03:04:05+00:00", None, HOSTILE, 1),),
            environments=(Environment(2, {"machine": HOSTILE}),),
            stages=(StageText("train", "train", "mixed", "1", "k" * 64, None),),
        ),
    )


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


class Elements(HTMLParser):
    """Every element of a page with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def elements(page: str) -> Elements:
    read = Elements()
    read.feed(page)
    read.close()
    return read


def test_hostile_text_is_shown_and_never_an_element(material: Material, tmp_path: Path) -> None:
    page = build_page(material, tmp_path / "report")[0].read_text("utf-8")
    read = elements(page)
    tags = {tag for tag, _ in read.found}
    assert "script" not in tags
    assert not any(name.startswith("on") for _, attributes in read.found for name in attributes)
    assert all(a["src"].startswith("data:image/svg+xml;base64,") for tag, a in read.found if tag == "img" and a["src"])
    assert page.count("&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;&amp;amp;") >= 5
    assert "\x00" not in page
    assert (read.open, read.wrong) == ([], [])


def test_the_page_needs_nothing_from_elsewhere(material: Material, tmp_path: Path) -> None:
    page = build_page(material, tmp_path)[0].read_text("utf-8")
    links = [a.get("href") or a.get("src") or "" for _, a in elements(page).found if "href" in a or "src" in a]
    assert len(links) > 5
    assert all(link.startswith(("#", "data:")) for link in links)
    assert not re.search(r"url\(|@import", page)
    assert "default-src 'none'" in page


def test_every_link_of_the_page_has_its_section(material: Material) -> None:
    read = elements(make_page(material, ()))
    ids = [a["id"] for _, a in read.found if "id" in a]
    assert {a["href"] for tag, a in read.found if tag == "a"} == {f"#{id_}" for id_ in ids}
    assert len(ids) == len(set(ids))


def test_the_same_material_gives_the_same_bytes_whatever_was_there(material: Material, tmp_path: Path) -> None:
    build_report(material, tmp_path / "one")
    before = digests(tmp_path / "one")
    (tmp_path / "one" / "figures" / "of-an-earlier-report.pdf").touch()
    build_report(material, tmp_path / "one")
    assert digests(tmp_path / "one") == before
    page, *figures = build_page(material, tmp_path / "two")
    assert page.name == "report.html"
    assert digests(tmp_path / "two") == {n: d for n, d in before.items() if n == page.name or n.endswith(".svg")}
    assert len(figures) == len(digests(tmp_path / "two")) - 1
    endings = {Path(name).suffix for name in before}
    assert endings == {".html", ".svg", ".pdf", ".png", ".tex", ".csv", ".json"}


def test_a_design_with_one_arm_and_nothing_else_still_has_a_page(material: Material, tmp_path: Path) -> None:
    comparison = dataclasses.replace(material.comparison, effects=(), claims=(), relative=(), components=())
    bare = dataclasses.replace(
        material, comparison=comparison, curves=LearningCurves((), ()), factors=(), corpora=(), apart=(), samples=()
    )
    page = build_report(bare, tmp_path).read_text("utf-8")
    assert "No claims are declared" in page
    assert list((tmp_path / "figures").iterdir()) == []


def test_shares_make_a_curve_that_begins_with_real_text(material: Material) -> None:
    found = {curve.factor: [(p.value, p.arm) for p in curve.points] for curve in material.factors}
    assert found == {"mixture.share": [(0.0, "real"), (0.3, "mixed"), (0.6, "share-0.6"), (0.9, "share-0.9")]}


def test_arms_differ_in_what_they_edit_and_nothing_that_the_normal_form_makes(material: Material) -> None:
    texts = {arm.name: arm for arm in material.arms}
    assert texts["real"].changes == ()
    assert [(c.path, c.before, c.after) for c in texts["share-0.6"].changes] == [("mixture.share", "0.3", "0.6")]
    paths = [change.path for change in texts["mixed"].changes]
    assert "synthetic.tokens" in paths
    assert not [path for path in paths if path.startswith("good.") or path == "synthetic"]


TABLE = Table(
    "t", "Words & numbers", ("name", "value"), (("[a] " + LATEX_SPECIALS, "-1.5"), ("=1+1", "2")), marks=("x", "")
)


def test_latex_prints_specials_as_they_are() -> None:
    text = to_latex(TABLE)
    assert r"100 \% of \$x\_1\$ \& \textbackslash{}input\{/etc/passwd\} \#1 \textasciitilde{} " in text
    assert r"$-$1.5 \\" in text
    assert "{}[a]" in text
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    assert latex("a\nb\x07") == "a b?"
    assert latex("-1.5 [-2.0, +3] t1-g1 2025-01-02") == "$-$1.5 [$-$2.0, +3] t1-g1 2025-01-02"


def test_a_table_of_many_rows_is_several_that_fit_a_page() -> None:
    rows = tuple((f"arm-{number}", str(number)) for number in range(100))
    text = to_latex(dataclasses.replace(TABLE, rows=rows, marks=(), notes=("once",)))
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 3
    assert all(f"arm-{number} &" in text for number in range(100))
    assert text.count("once") == 1
    assert len(set(re.findall(r"\\label\{(.*?)\}", text))) == 3


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles_whatever_the_names_and_nothing_leaves_the_page(material: Material, tmp_path: Path) -> None:
    wide = Table("wide", HOSTILE, ("a", *"bcdefghij"), ((HOSTILE, *["語 é \\ {"] * 9),) * 60, notes=(LATEX_SPECIALS,))
    tables = [*for_latex(material), wide]
    body = r"\clearpage".join(map(to_latex, tables))
    head = r"\documentclass{article}\usepackage{booktabs}\usepackage{graphicx}\begin{document}"
    (tmp_path / "paper.tex").write_text(f"{head}{body}\\end{{document}}", "utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
    assert "Float too large" not in done.stdout
    assert len(tables) > 5


def test_csv_cells_are_no_formulas_and_numbers_stay_numbers() -> None:
    rows = list(csv.reader(io.StringIO(to_csv(TABLE))))
    assert rows[1] == ["[a] " + LATEX_SPECIALS, "-1.5"]
    assert rows[2] == ["'=1+1", "2"]


def test_html_tables_escape_marks_and_cells() -> None:
    made = to_html(dataclasses.replace(TABLE, rows=((HOSTILE, "1"),), marks=('"><script>',)))
    assert "<script" not in made
    assert {tag for tag, _ in elements(made).found} == {"div", "table", "caption", "thead", "tbody", "tr", "th", "td"}
