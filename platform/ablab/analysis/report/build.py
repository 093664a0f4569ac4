"""A report as files: the page, and the parts for a paper."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from ablab.analysis.export import write_files
from ablab.analysis.report import background, contents
from ablab.analysis.report.alike import apart_table
from ablab.analysis.report.data import data_tables
from ablab.analysis.report.figures import SCREEN, draw_figures
from ablab.analysis.report.material import Material
from ablab.analysis.report.page import make_page
from ablab.analysis.report.tables import Table, to_csv, to_latex

PAGE, FIGURES, TABLES = "report.html", "figures", "tables"


def build_report(material: Material, folder: Path) -> Path:
    """Write `report.html`, `figures/*.{svg,pdf,png}` and `tables/*.{tex,csv}`; returns the page.

    The same material gives the same bytes in every file. `figures` and `tables` of an earlier report are replaced.
    """
    for name in (FIGURES, TABLES):
        shutil.rmtree(folder / name, ignore_errors=True)
    tables = folder / TABLES
    tables.mkdir(parents=True)
    figures = draw_figures(material, folder / FIGURES)
    write_files(material.comparison, tables)
    for table in for_latex(material):
        (tables / f"{table.name}.tex").write_text(to_latex(table), encoding="utf-8")
    for table in _for_csv(material):
        (tables / f"{table.name}.csv").write_text(to_csv(table), encoding="utf-8")
    page = folder / PAGE
    page.write_text(make_page(material, figures), encoding="utf-8")
    return page


def build_page(material: Material, folder: Path) -> tuple[Path, ...]:
    """Write `report.html`, with the same bytes as `build_report`, and beside it its figures as `figures/*.svg`.

    Returns the page, then the figures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = draw_figures(material, folder / FIGURES, SCREEN)
    page = folder / PAGE
    page.write_text(make_page(material, figures), encoding="utf-8")
    return page, *(figure.svg for figure in figures)


def for_latex(material: Material) -> Iterator[Table]:
    """What a paper shows, rounded."""
    maybe = [
        contents.claims_table(material),
        background.arms_table(material),
        contents.scores_table(material.shown),
        contents.effects_table(material.shown),
        contents.sizes_table(material),
        contents.relative_table(material),
        contents.oracle_table(material),
        contents.components_table(material),
        background.corpora_table(material),
        apart_table(material.apart),
        background.costs_table(material),
        background.kinds_table(material),
    ]
    yield from (table for table in maybe if table is not None and table.rows)


def _for_csv(material: Material) -> Iterator[Table]:
    """What `write_files` has not."""
    tasks = contents.tasks_table(material)
    yield from (table for table in (background.arms_table(material), background.stages_table(material), tasks) if table)
    yield from data_tables(material)
