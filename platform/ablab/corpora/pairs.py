"""One row of a suite of sentence pairs in the BabyLM 2025 layout."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

_HALF_PAIR = re.compile("[\ud800-\udfff]")


class Question(NamedTuple):
    """One item before it has its id."""

    context: str
    options: tuple[str, ...]


class NotAPair(Exception):
    """A line is not a sentence pair; the message says why."""


def sentence_pair(line: str) -> Question:
    """One row of a BabyLM suite: a JSON object with `sentence_good` and `sentence_bad`. Raises NotAPair.

    The two may be equal: the published BLiMP has such rows, and scoring counts a tie as correct.
    """
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise NotAPair(f"not JSON ({error})") from error
    if not isinstance(row, dict):
        raise NotAPair(f"a {type(row).__name__}, not an object with sentence_good and sentence_bad")
    for field in ("sentence_good", "sentence_bad"):
        value = row.get(field)
        if not isinstance(value, str) or not value.strip():
            raise NotAPair(f"{field} must be a sentence, not {value!r}")
        if _HALF_PAIR.search(value):  # JSON can spell what UTF-8 cannot hold
            raise NotAPair(f"{field} holds half of a surrogate pair")
    return Question("", (row["sentence_good"], row["sentence_bad"]))
