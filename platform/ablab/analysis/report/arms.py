"""What exactly differs between arms, and which of them make a curve over a number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ablab.analysis.comparison import Comparison
from ablab.analysis.report.material import ArmText, Change, FactorCurve, FactorPoint
from ablab.spec.ablation import Design
from ablab.spec.canonical import canonical_json
from ablab.spec.edit import dump
from ablab.spec.normal import normal

Leaves = Mapping[str, Any]
SHARE = "mixture.share"
FEWEST = 3  # values that make a curve


def arm_texts(design: Design, comparison: Comparison) -> tuple[ArmText, ...]:
    """Every arm in declared order, control first, each told by the earlier arm that it differs least from.

    Of several that differ alike it is the one that the declaration makes it from, else the first.
    """
    leaves = arm_leaves(design)
    raw = {name: dict(leaves_of(dump(recipe))) for name, recipe in design.recipes().items()}
    edited = {arm.name: arm for arm in design.arms}
    found: list[ArmText] = []
    for name in design.arm_names():
        arm = edited.get(name)
        changes = {
            earlier.name: tuple(_changes((leaves[earlier.name], raw[earlier.name]), (leaves[name], raw[name])))
            for earlier in found
            if not earlier.seed_offset
        }
        made_from = arm.of or design.control if arm else None
        like = min(changes, key=lambda other: (len(changes[other]), other != made_from), default=None)
        finished = sum(value is not None for value in comparison.score(name, comparison.metrics[0].name).values)
        found.append(ArmText(name, like, changes[like] if like else (), arm.seed_offset if arm else 0, finished))
    return tuple(found)


def arm_leaves(design: Design) -> dict[str, dict[str, Any]]:
    """Of every arm the leaves of its recipe in normal form, by dotted path."""
    return {name: dict(leaves_of(dump(normal(recipe)))) for name, recipe in design.recipes().items()}


def factor_curves(design: Design, comparison: Comparison) -> tuple[FactorCurve, ...]:
    """Every set of at least three arms that differ in one number alone.

    An arm with share 0 is real text alone, whatever text others mix in: it begins every curve over the share.
    """
    again = {arm.name for arm in design.arms if arm.seed_offset}
    leaves = {name: values for name, values in arm_leaves(design).items() if name not in again}
    finished = {n for n in leaves if any(v is not None for v in comparison.score(n, comparison.metrics[0].name).values)}
    paths = sorted({path for values in leaves.values() for path in values})
    varied = [path for path in paths if len({repr(values.get(path)) for values in leaves.values()}) > 1]
    found: list[FactorCurve] = []
    for path in varied:
        families: dict[str, list[str]] = {}
        for name, values in leaves.items():
            if name in finished and _number(values.get(path)) is not None and (path != SHARE or values[path] > 0.0):
                rest = {other: values.get(other) for other in varied if other != path}
                families.setdefault(canonical_json(rest), []).append(name)
        control = design.control if design.control in finished else None
        zero = [control] if control and path == SHARE and leaves[control].get(SHARE) == 0.0 else []
        curves = [zero + names for names in families.values()]
        found += _curves(path, [c for c in curves if len(c) >= FEWEST], leaves, varied, design, comparison)
    return tuple(found)


def _curves(
    path: str,
    families: list[list[str]],
    leaves: Mapping[str, Mapping[str, Any]],
    varied: list[str],
    design: Design,
    comparison: Comparison,
) -> Iterator[FactorCurve]:
    for names in families:
        others = [one for one in families if one is not names]
        apart = [
            p for p in varied if p != path and any(leaves[names[-1]].get(p) != leaves[o[-1]].get(p) for o in others)
        ]
        rest = ", ".join(f"{p}={leaf_text(leaves[names[-1]].get(p))}" for p in apart)
        points = [_point(float(leaves[name][path]), name, design, comparison) for name in names]
        yield FactorCurve(path, rest, tuple(sorted(points, key=lambda point: point.value)))


def _point(value: float, arm: str, design: Design, comparison: Comparison) -> FactorPoint:
    if arm == design.control:
        return FactorPoint(value, arm, {metric.name: None for metric in comparison.metrics})
    effects = {metric.name: comparison.effect(arm, design.control, metric.name) for metric in comparison.metrics}
    return FactorPoint(value, arm, {name: effect for name, effect in effects.items() if effect is not None})


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _changes(base: tuple[Leaves, Leaves], arm: tuple[Leaves, Leaves]) -> Iterator[Change]:
    """From leaves in normal form and as declared: what matters in one arm alone is no difference if both declare it."""
    (there, declared_there), (here, declared_here) = base, arm
    paths = sorted({*there, *here})
    for path in paths:
        before, after = there.get(path, _ABSENT), here.get(path, _ABSENT)
        alike = path in declared_there and declared_there[path] == declared_here.get(path, _ABSENT)
        within = any(other.startswith(f"{path}.") for other in paths)  # null, where the other has an object
        if before != after and not alike and not within:
            yield Change(path, leaf_text(before), leaf_text(after))


_ABSENT = object()


def leaf_text(value: Any) -> str | None:
    """A leaf as people read it; None for one that is not there."""
    if value is _ABSENT:
        return None
    return value if isinstance(value, str) else canonical_json(value)


def leaves_of(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested objects by dotted path."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaves_of(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
