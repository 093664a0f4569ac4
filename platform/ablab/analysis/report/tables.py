"""One table, three ways: HTML, LaTeX (booktabs) and CSV. Every cell is escaped for each."""

from __future__ import annotations

import csv
import html
import io
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "±": r"$\pm$",
    "−": r"$-$",
    "×": r"$\times$",
    "Δ": r"$\Delta$",
    "μ": r"$\mu$",
    "→": r"$\rightarrow$",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
    "…": r"\ldots{}",
    "–": "--",
    "·": r"$\cdot$",
    "≠": r"$\neq$",
    "\u00a0": "~",
}
MINUS = re.compile(r"(?<![\w.)-])-(?=\d)")  # of a number, not a hyphen
LATEX_WIDTH, LATEX_ROWS = 72, 42  # characters that fit a line of text, and rows that fit a page, with some to spare
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would compute such a cell


def plain(text: str) -> str:
    """The text without control characters, which no format can show; line breaks and tabs stay."""
    return "".join(c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs") else "\ufffd" for c in text)


@dataclass(frozen=True)
class Table:
    """Cells are what a reader sees; `left` columns hold words, all others numbers."""

    name: str
    """Of its files, and the LaTeX label."""
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: int = 1
    """How many columns, from the first, are words."""
    marks: tuple[str, ...] = ()
    """A class of every row for the page; none where empty."""
    notes: tuple[str, ...] = ()


def to_html(table: Table) -> str:
    """A `<table>` with its caption. `code` in a mark is the page's own and never comes from data."""
    head = "".join(f'<th scope="col"{_side(table, at)}>{_escaped(name)}</th>' for at, name in enumerate(table.header))
    marks = table.marks or ("",) * len(table.rows)
    body = "\n".join(_html_row(table, row, mark) for row, mark in zip(table.rows, marks, strict=True))
    notes = "".join(f'<p class="note">{_escaped(note)}</p>' for note in table.notes)
    caption = f"<caption>{_escaped(table.title)}</caption>"
    return (
        f'<div class="wide"><table>{caption}\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'
        f"{notes}"
    )


def _html_row(table: Table, row: Sequence[str], mark: str) -> str:
    cells = "".join(
        f'<th scope="row">{_escaped(cell)}</th>' if at == 0 else f"<td{_side(table, at)}>{_escaped(cell)}</td>"
        for at, cell in enumerate(row)
    )
    return f'<tr class="{_escaped(mark)}">{cells}</tr>' if mark else f"<tr>{cells}</tr>"


def _escaped(text: str) -> str:
    return html.escape(plain(text))


def _side(table: Table, column: int) -> str:
    return "" if column < table.left else ' class="n"'


def to_latex(table: Table) -> str:
    """A `table` environment for `\\usepackage{booktabs}`, and `graphicx` where it is too wide for a column of text.

    Of more rows than a page holds it is several tables.
    """
    parts = [table.rows[at : at + LATEX_ROWS] for at in range(0, len(table.rows), LATEX_ROWS)] or [()]
    return "\n".join(_latex_part(table, rows, number, len(parts)) for number, rows in enumerate(parts, 1))


def _latex_part(table: Table, rows: Sequence[Sequence[str]], number: int, of: int) -> str:
    part = f" ({number} of {of})" if of > 1 else ""
    cells = [table.header, *rows]
    width = sum(max(len(row[at]) for row in cells) + 2 for at in range(len(table.header)))
    fit, end = (r"\resizebox{\linewidth}{!}{", "}") if width > LATEX_WIDTH else ("", "")
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex(table.title + part)}}}",
        rf"\label{{tab:{table.name}{f'-{number}' if of > 1 else ''}}}",
        rf"{fit}\begin{{tabular}}{{{'l' * table.left}{'r' * (len(table.header) - table.left)}}}",
        r"\toprule",
        " & ".join(map(latex, table.header)) + r" \\",
        r"\midrule",
        *(" & ".join(map(latex, row)) + r" \\" for row in rows),
        r"\bottomrule",
        rf"\end{{tabular}}{end}",
        *(rf"\par\footnotesize {latex(note)}" for note in (table.notes if number == of else ())),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def latex(text: str) -> str:
    """Text that LaTeX prints as it is, letters beyond Latin-1 as question marks.

    The minus of a number becomes a real one, line breaks become blanks.
    """
    flat = " ".join(plain(text).replace("\u00a0", "\ue000").split()).replace("\ue000", "\u00a0")
    escaped = "".join(LATEX.get(letter, letter if letter <= "\u00ff" else "?") for letter in MINUS.sub("−", flat))
    # a row that begins with [ would be read as the optional argument of the \\ before it
    return f"{{}}{escaped}" if escaped.startswith(("[", "*")) else escaped


def to_csv(table: Table) -> str:
    """RFC 4180 with \\n; a cell of words that a spreadsheet would compute begins with an apostrophe."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.header)
    writer.writerows([_inert(cell) if at < table.left else cell for at, cell in enumerate(row)] for row in table.rows)
    return text.getvalue()


def _inert(cell: str) -> str:
    return f"'{cell}" if cell.startswith(FORMULA_STARTS) else cell
