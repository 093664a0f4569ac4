"""The prepared views of an ablation's experiment: what a reader opens first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ablab.spec.metrics import BITS_PER_BYTE
from ablab.tracking.cards import Card, PreparedView, bar, dots, line, parallel
from ablab.tracking.colours import group_key
from ablab.tracking.executions import ARM_PARAM, ARM_TAG, DIFFERENCE, EXECUTION_TAG, VERDICTS_TAG
from ablab.tracking.flatten import safe_name
from ablab.tracking.learning import LEARNING, score_names
from ablab.tracking.views import ExecutionView

MOST_AXES = 5  # of parallel coordinates: more cannot be read


def prepared_views(view: ExecutionView) -> tuple[PreparedView, ...]:
    """Views of the arms of one execution that has results; none before."""
    scores = [safe_name(name) for name in view.headline]
    if not scores:
        return ()
    top = [safe_name(name) for name in view.top] or scores
    suites = [name for name in scores if name not in top]
    factors = [safe_name(path) for path in _varying_factors(view)]
    groups = group_key(ARM_TAG, view.arm_names())
    differences = [DIFFERENCE + name for name in (*top, *suites)]
    other = sorted({safe_name(name) for arm in view.arms for name in arm.metrics} - {*scores, safe_name(BITS_PER_BYTE)})
    means = {
        "Groups, aggregate and perplexity: mean over replicates": [bar(name) for name in top],
        "Suites": [bar(name) for name in suites],
        "Synthetic text": [bar(name) for name in other],
    }
    spread = {
        "Groups, aggregate and perplexity: a dot for every replicate": [dots(ARM_PARAM, name) for name in top],
        "Suites": [dots(ARM_PARAM, name) for name in suites],
    }
    looks = score_names(view.stages)
    learning = {
        "Loss in nats over steps: mean and range of the replicates": [line(name, "log") for name in LEARNING],
        "Scores in % over steps: mean and range of the replicates": [line(name, "linear") for name in looks],
    }
    from_control = {
        "Paired difference in points (perplexity: in %), mean over replicates": [bar(name) for name in differences],
    }
    against = [*map(_param, factors), *map(_metric, top)]
    table = [_tag(VERDICTS_TAG), *map(_metric, top), *map(_param, factors), *map(_metric, suites)]

    def made(
        name: str, title: str, columns: Sequence[str], grouped: bool, charts: Mapping[str, list[Card]]
    ) -> PreparedView:
        return PreparedView(
            id=f"ablab-{name}",
            title=title,
            of=view.label,
            search=f"tags.`{EXECUTION_TAG}` = '{view.id}' and tags.`{ARM_TAG}` != ''",
            order_by=top[0],
            metrics={*scores, *other, *differences, *LEARNING, *looks, safe_name(BITS_PER_BYTE)},
            columns=[_tag(ARM_TAG), *columns],
            sections={title: cards for title, cards in charts.items() if cards},
            group_by=groups if grouped else "",
        )

    return (
        made("scores", "arms by score", [*map(_metric, scores)], True, means),
        made("spread", "spread over replicates", [*map(_metric, scores)], False, spread),
        made("learning", "learning curves", [*map(_metric, scores)], True, learning),
        made("factors", "factor against score", against, False, _factors(view, factors, top)),
        made("differences", "difference from the control", [*map(_metric, differences)], True, from_control),
        made("table", "table with factors, scores, verdicts", table, False, {}),
    )


def _param(name: str) -> str:
    return f"params.`{name}`"


def _metric(name: str) -> str:
    return f"metrics.`{name}`"


def _tag(name: str) -> str:
    return f"tags.`{name}`"


def _factors(view: ExecutionView, factors: Sequence[str], top: Sequence[str]) -> dict[str, list[Card]]:
    """Every factor that is claimed about against the scores, then all of them side by side."""
    claimed = {safe_name(path) for path in view.claimed}
    found = {path: [dots(path, name) for name in top] for path in factors if path in claimed}
    return found | {"All factors: parallel coordinates": [parallel(factors[:MOST_AXES], top)] if factors else []}


def _varying_factors(view: ExecutionView) -> list[str]:
    """Factors that differ between arms; first those that claims are about, last those of GOOD. No whole objects."""
    values: dict[str, set[str]] = {}
    for path in dict.fromkeys(path for arm in view.arms for path in arm.factors):
        values[path] = {arm.factors.get(path, "null") for arm in view.arms}
    varying = [path for path, seen in values.items() if len(seen) > 1 and not any(one[:1] in "{[" for one in seen)]
    return sorted(varying, key=lambda path: (path not in view.claimed, path.startswith("good.")))
