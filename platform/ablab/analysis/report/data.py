"""Numbers behind figures and tables in full precision, for CSV. Effects, scores and claims are `export`'s."""

from __future__ import annotations

from collections.abc import Iterator

from ablab.analysis.report.material import Cost, Line, Material, ScoreCurves
from ablab.analysis.report.tables import Table


def data_tables(material: Material) -> Iterator[Table]:
    """Learning curves, corpora, distances between arms and costs."""
    curves = [("training", material.curves.train), ("validation", material.curves.validation)]
    yield Table(
        "learning-curves",
        "Learning curves",
        ("arm", "loss", "tokens", "mean_nats", "low_nats", "high_nats", "n_replicates"),
        tuple(row for loss, lines in curves for line in lines for row in _curve(loss, line)),
        left=2,
    )
    yield Table(
        "score-curves",
        "Scores over training steps",
        ("arm", "metric", "kind", "suite", "step", "mean", "low", "high", "n_replicates"),
        tuple(
            _score_row(one, line, at) for one in material.curves.scores for line in one.lines for at in _places(line)
        ),
        left=4,
    )
    yield Table(
        "corpora",
        "Synthetic corpora",
        ("arm", "measure", "mean", "n_corpora"),
        tuple(
            (c.arm, name, repr(value), str(c.corpora)) for c in material.corpora for name, value in c.numbers.items()
        ),
        left=2,
    )
    yield Table(
        "apart",
        "How far the arms' distributions are apart, before sampling",
        ("arms", "other_arms", "total_variation", "kl_nats", "kl_back_nats"),
        tuple(
            (" ".join(one.arms), " ".join(one.others), repr(one.total_variation), *map(_or_nothing, one.kl_nats))
            for one in material.apart
        ),
        left=2,
    )
    found = material.costs
    groups = [("apart", {**found.arms, "all": found.apart}), ("own", found.own), ("kind", found.kinds)]
    yield Table(
        "costs",
        "Costs",
        ("scope", "of", "stages", "device_hours", "cpu_hours", "tokens", "flops"),
        tuple(
            (scope, name, *_cost(cost))
            for scope, costs in [*groups, ("together", {"all": found.together})]
            for name, cost in costs.items()
        ),
        left=2,
    )


def _or_nothing(value: float | None) -> str:
    return "" if value is None else repr(value)


def _curve(loss: str, line: Line) -> Iterator[tuple[str, ...]]:
    for x, mean, low, high in zip(line.x, line.mean, line.low, line.high, strict=True):
        yield (line.arm, loss, f"{x:.0f}", repr(mean), repr(low), repr(high), str(line.replicates))


def _places(line: Line) -> range:
    return range(len(line.x))


def _score_row(one: ScoreCurves, line: Line, at: int) -> tuple[str, ...]:
    numbers = (f"{line.x[at]:.0f}", repr(line.mean[at]), repr(line.low[at]), repr(line.high[at]), str(line.replicates))
    return (line.arm, one.metric, one.kind, one.suite, *numbers)


def _cost(cost: Cost) -> tuple[str, ...]:
    return (str(cost.stages), *map(repr, (cost.device_hours, cost.cpu_hours, cost.tokens, cost.flops)))
