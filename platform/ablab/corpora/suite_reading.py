"""Reading times: rows of `reading_data.csv` (De Varda, Marelli & Amenta 2024) as questions with one option.

Words of one sentence are a cluster, named by the number of its first row in the file. A row that lacks a number which
its regression needs is left out, as the public pipeline does. The pipeline reads the file with pandas, so that the word
"None" counts as a missing cell: as a context it is put back, as a previous context it makes the row unusable (one row
of the published file).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Final, NamedTuple

from ablab.corpora.pairs import Question

EYE_TRACKING: Final = "eye-tracking"
SELF_PACED: Final = "self-paced-reading"

_CONTROLS = ("Subtlex_log10", "length", "context_length")


class Regression(NamedTuple):
    """Columns of one task, how many words make a fit, and whether the word before counts."""

    predictors: tuple[str, ...]
    times: tuple[str, ...]
    least: int
    previous: bool

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is read."""
        before = ("prev_item", "prev_word") * self.previous
        return ("item", "word", "sentence", *before, *self.predictors, *self.times)


REGRESSIONS: Mapping[str, Regression] = {
    EYE_TRACKING: Regression(_CONTROLS, ("RTfirstfix", "RTfirstpass", "RTgopast", "RTrightbound"), 10, False),
    SELF_PACED: Regression((*_CONTROLS, "prev_length"), ("self_paced_reading_time",), 20, True),
}
"""`least` is two more than the coefficients of the larger model (8 and 17), rounded up."""

# what pandas.read_csv takes for a missing cell
_MISSING = frozenset(("", "#N/A", "#N/A N/A", "#NA", "<NA>", "N/A", "NA", "NULL", "None", "n/a", "null"))
_MISSING |= {"-NaN", "-nan", "NaN", "nan", "-1.#IND", "-1.#QNAN", "1.#IND", "1.#QNAN"}


def read_words(text: str, task: str, leading_space: bool = False) -> tuple[list[tuple[int, Question]], list[str]]:
    """The usable words of a file with the number of their row, and its faults as `LINE: reason`."""
    wanted = REGRESSIONS[task]
    reader = csv.DictReader(StringIO(text, newline=""))
    try:
        return _words(reader, wanted, task, " " if leading_space else "")
    except csv.Error as error:
        return [], [f"{reader.line_num}: not comma-separated values ({error})"]


def _words(
    reader: csv.DictReader[str], wanted: Regression, task: str, space: str
) -> tuple[list[tuple[int, Question]], list[str]]:
    lacking = [column for column in wanted.columns if column not in (reader.fieldnames or ())]
    if lacking:
        return [], [f"1: the columns {', '.join(lacking)} are missing, which {task} needs"]
    words: list[tuple[int, Question]] = []
    faults: list[str] = []
    first: dict[str, int] = {}
    for number, row in enumerate(reader):
        found = _row_faults(row, wanted)
        sentence = first.setdefault(row["sentence"], number)
        faults += [f"{reader.line_num}: {fault}" for fault in found]
        if not found and _usable(row, wanted):
            words.append((number, _question(row, wanted, space, sentence)))
    if not faults and len(words) < wanted.least:
        faults.append(f"1: {len(words)} rows have every number that {task} needs; a fit takes {wanted.least} or more")
    return words, faults


def _row_faults(row: Mapping[str, str | None], wanted: Regression) -> list[str]:
    short = [column for column in wanted.columns if row[column] is None]
    if short:
        return [f"the row ends before {short[0]}"]
    words = {column: row[column] or "" for column in ("word", *(("prev_word",) * wanted.previous))}
    faults = [f"{column} must have no space around it: {w!r}" for column, w in words.items() if w != w.strip()]
    faults += [] if words["word"] else ["word is empty"]
    for column in (*wanted.predictors, *wanted.times):
        cell = row[column] or ""
        if cell not in _MISSING and not _is_number(cell):
            faults.append(f"{column} must be a number, not {cell!r}")
    return faults


def _usable(row: Mapping[str, str], wanted: Regression) -> bool:
    needed: Sequence[str] = (*wanted.predictors, *wanted.times, *(("prev_item", "prev_word") * wanted.previous))
    return not any(row[column] in _MISSING for column in needed)


def _question(row: Mapping[str, str], wanted: Regression, space: str, sentence: int) -> Question:
    more: dict[str, object] = {
        "predictors": {column: float(row[column]) for column in wanted.predictors},
        "times": {column: float(row[column]) for column in wanted.times},
    }
    if wanted.previous:
        more["previous"] = {"context": row["prev_item"], "option": space + row["prev_word"]}
    context = "None" if row["item"] in _MISSING else row["item"]
    return Question(context, (space + row["word"],), more, str(sentence))


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False
