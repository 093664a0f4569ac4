"""Points of a space: from what Optuna draws to edits of the base recipe, and back."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from ablab.search.spec import Categorical, Float, Integer, Range
from ablab.spec.canonical import canonical_json, plain
from ablab.spec.edit import dump
from ablab.spec.recipe import Recipe

ABSENT = object()  # the value at a path that a recipe does not have, where null is a value

Space = Mapping[str, Range]


def drawn(trial: Any, space: Space) -> dict[str, Any]:
    """The trial's point as edits: recipe path to JSON-like value. Draws what the trial does not have yet."""
    return {path: _draw(trial, path, range_) for path, range_ in space.items()}


def edits_of(params: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """Optuna's stored parameters as edits; paths that were never drawn are left out."""
    return {path: _value(params[path], range_) for path, range_ in space.items() if path in params}


def params_of(recipe: Recipe, space: Space) -> dict[str, Any] | None:
    """Optuna's parameters for the recipe's own values; None where one of them is not in the space."""
    tree = dump(recipe)
    found: dict[str, Any] = {}
    for path, range_ in space.items():
        param = _param(value_at(tree, path), range_)
        if param is ABSENT:
            return None
        found[path] = param
    return found


def value_at(tree: Any, path: str) -> Any:
    """The value at a dotted path of JSON-like data, or `ABSENT`."""
    for part in path.split("."):
        tree = tree.get(part, ABSENT) if isinstance(tree, dict) else ABSENT
    return tree


def choice_labels(range_: Categorical) -> list[None | bool | int | float | str]:
    """What Optuna is given for the choices: scalars as they are, whole variants as their canonical JSON."""
    return [_label(choice) for choice in range_.choices]


def _draw(trial: Any, path: str, range_: Range) -> Any:
    match range_:
        case Float():
            drawn_ = trial.suggest_float(path, range_.low, range_.high, step=range_.step, log=range_.log)
        case Integer():
            drawn_ = trial.suggest_int(path, range_.low, range_.high, step=range_.step, log=range_.log)
        case Categorical():
            drawn_ = trial.suggest_categorical(path, choice_labels(range_))
    return _value(drawn_, range_)


def _value(param: Any, range_: Range) -> Any:
    """What the recipe gets: of a range with steps what a person would write (0.3, not 0.30000000000000004)."""
    match range_:
        case Float(step=step) if step is not None:
            low, width = Decimal(str(range_.low)), Decimal(str(step))
            return float(low + width * round((Decimal(str(param)) - low) / width))
        case Float():
            return float(param)
        case Integer():
            return int(param)
    labels = [canonical_json(label) for label in choice_labels(range_)]
    return plain(range_.choices[labels.index(canonical_json(param))])


def _param(value: Any, range_: Range) -> Any:
    """The inverse of `_value`; `ABSENT` for what is not in the range."""
    if isinstance(range_, Categorical):
        texts = [canonical_json(choice) for choice in range_.choices]
        inside = value is not ABSENT and canonical_json(value) in texts
        return choice_labels(range_)[texts.index(canonical_json(value))] if inside else ABSENT
    if not isinstance(value, int | float) or isinstance(value, bool) or not range_.low <= value <= range_.high:
        return ABSENT
    if range_.step is not None and (Decimal(str(value)) - Decimal(str(range_.low))) % Decimal(str(range_.step)):
        return ABSENT
    return value


def _label(choice: Any) -> None | bool | int | float | str:
    if choice is None or isinstance(choice, bool | int | float | str):
        return choice
    return canonical_json(choice)
