"""One row of a suite in the BabyLM 2025 layout: what makes it a question, or why it is none."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

ENTITY_OPTIONS = 5

_HALF_PAIR = re.compile("[\ud800-\udfff]")


class Question(NamedTuple):
    """One item before it has its id."""

    context: str
    options: tuple[str, ...]
    more: Mapping[str, Any] | None = None
    """Further fields of the row: what a score is compared with."""
    cluster: str | None = None
    """What its rows have in common, unique within its suite; None where a row stands for itself."""


class NotARow(Exception):
    """A line is no row of its suite; the message says why."""


def sentence_pair(line: str) -> Question:
    """A row of BLiMP or of the Supplement. Raises NotARow.

    The two sentences may be equal: the published BLiMP has such rows, and scoring counts a tie as correct.
    """
    row = _object(line, "sentence_good and sentence_bad")
    sentences = tuple(_text(row, field, "a sentence") for field in ("sentence_good", "sentence_bad"))
    return Question("", sentences)


def tracked_entity(line: str) -> tuple[int, Question]:
    """A row of entity tracking: its number of operations, and the question, clustered by story. Raises NotARow."""
    row = _object(line, "numops, input_prefix and options")
    context, options, operations = _text(row, "input_prefix", "a text"), row.get("options"), row.get("numops")
    if type(operations) is not int or operations < 0:
        raise NotARow(f"numops must be a number of operations, not {operations!r}")
    if not isinstance(options, list) or len(options) != ENTITY_OPTIONS:
        found = f"{len(options)}" if isinstance(options, list) else repr(options)
        raise NotARow(f"options must be {ENTITY_OPTIONS} texts, the right one first, not {found}")
    story = row.get("sample_id")
    if not (story is None or type(story) is int or isinstance(story, str)):
        raise NotARow(f"sample_id must be the number or name of a story, not {story!r}")
    texts = {f"options[{place}]": option for place, option in enumerate(options)}
    answers = tuple(_text(texts, field, "a text") for field in texts)
    return operations, Question(context, answers, cluster=None if story is None else str(story))


def nonce_word(line: str) -> Question:
    """A row of WUG: variants of a sentence between tabs, and how many people chose the first. Raises NotARow."""
    row = _object(line, "sentences and ratio")
    variants, ratio = tuple(_text(row, "sentences", "variants between tabs").split("\t")), row.get("ratio")
    if len(variants) < 2 or not all(variant.strip() for variant in variants):
        raise NotARow(f"sentences must be two or more variants between tabs, not {row['sentences']!r}")
    if not isinstance(ratio, int | float) or isinstance(ratio, bool) or not math.isfinite(ratio):
        raise NotARow(f"ratio must be a number, not {ratio!r}")
    return Question("", variants, {"ratio": float(ratio)})


def world_knowledge(line: str) -> tuple[frozenset[str], Question]:
    """A row of EWoK: which target follows the first context. Raises NotARow, which never says what the row holds.

    Returned with its two contexts, in no order: rows of the same two ask of one item, the swapped copy above all.
    """
    fields = ("Context1", "Context2", "Target1", "Target2")
    row = _object(line, ", ".join(fields), show=False)
    context, other, *targets = (_text(row, field, "a text", show=False) for field in fields)
    return frozenset({context, other}), Question(context, tuple(f" {target}" for target in targets))


def _object(line: str, fields: str, show: bool = True) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise NotARow(f"not JSON ({error})" if show else "not JSON") from None
    if not isinstance(row, dict):
        raise NotARow(f"a {type(row).__name__}, not an object with {fields}")
    return row


def _text(row: Mapping[str, Any], field: str, what: str, show: bool = True) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not value.strip():
        found = f", not {value!r}" if show else " that is not empty" if field in row else "; it is missing"
        raise NotARow(f"{field} must be {what}{found}")
    if _HALF_PAIR.search(value):  # JSON can spell what UTF-8 cannot hold
        raise NotARow(f"{field} holds half of a surrogate pair")
    return value
