"""The state of MLflow's page of runs, as a prepared view keeps it: columns, order, grouping, charts.

MLflow keeps a shared view in an experiment tag. The page sorts by a metric here, because sorting by start time nests
the runs of arms under their executions and leaves the charts empty. A chart's title is its metric: it has no other.
"""

from __future__ import annotations

import base64
import json
import uuid
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

TAG = "mlflow.sharedViewState."
SHOWN = 100  # runs in one chart
_SPACE = uuid.UUID("5d0f6c0e-6a52-4b0f-9a35-1f7a5a2b9d11")  # of the ids of cards: the same view gives the same tag

Card = dict[str, Any]


@dataclass(frozen=True)
class PreparedView:
    """One view. Names of metrics and parameters are MLflow's (`flatten.safe_name`)."""

    id: str
    title: str
    of: str
    """Whose runs it shows."""
    search: str
    order_by: str
    """A metric."""
    metrics: Collection[str]
    """All that the runs have: those without a card would get one of MLflow's own."""
    columns: Sequence[str]
    sections: Mapping[str, Sequence[Card]] = field(default_factory=dict)
    """Charts by the title above them; none is the table alone."""
    group_by: str = ""
    """A tag: charts then show the mean over the runs that share its value."""

    @property
    def tag(self) -> str:
        return TAG + self.id

    def url(self, base: str, experiment_id: str) -> str:
        """Its address on a server at `base` (empty: within MLflow's pages)."""
        mode = "&compareRunsMode=CHART" if self.sections else ""
        return (
            f"{base.rstrip('/')}{'/' if base else ''}#/experiments/{quote(experiment_id)}/runs"
            f"?viewStateShareKey={quote(self.id)}{mode}&workflowType=machine_learning"
        )

    def value(self, updated_ms: int) -> str:
        """The tag's value."""
        packed = base64.b64encode(zlib.compress(json.dumps(self._state()).encode("utf-8"), 9)).decode("ascii")
        shown = {"name": f"{self.title}: {self.of}", "createdAt": updated_ms, "updatedAt": updated_ms}
        return json.dumps(shown | {"state": f"deflate;{packed}"})

    def _state(self) -> dict[str, Any]:
        keys = {"groupByKeys": [{"mode": "tag", "groupByData": self.group_by}], "aggregateFunction": "average"}
        return {
            "searchFilter": self.search,
            "orderByKey": f"metrics.`{self.order_by}`",
            "orderByAsc": False,
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "datasetsFilter": [],
            "modelVersionFilter": "All Runs",
            "selectedColumns": list(self.columns),
            "columnOrder": list(self.columns),
            "columnWidths": {},
            "runsHiddenMode": "SHOW_ALL",
            "viewMaximized": False,
            "runListHidden": False,
            "isAccordionReordered": True,  # else the page may sort the sections by name
            "useGroupedValuesInCharts": True,
            "hideEmptyCharts": True,
            "groupsExpanded": {},
            "groupBy": keys if self.group_by else None,
            "compareRunSections": [_section(self._id(title), title) for title in self.sections],
            "compareRunCharts": self._cards(),
        }

    def _cards(self) -> list[Card]:
        placed = [(self._id(title), card) for title, cards in self.sections.items() for card in cards]
        named = {card.get("metricKey") for _, card in placed}
        hidden = [bar(name) | {"deleted": True} for name in sorted(self.metrics) if name not in named]
        if not placed:
            return []
        made = [(section, card) for section, card in placed] + [(placed[0][0], card) for card in hidden]
        return [
            {
                "uuid": self._id(f"card {number}"),
                "runsCountToCompare": SHOWN,
                "metricSectionId": section,
                "deleted": False,
                "isGenerated": False,
                **card,
            }
            for number, (section, card) in enumerate(made)
        ]

    def _id(self, what: str) -> str:
        return str(uuid.uuid5(_SPACE, f"{self.id} {what}"))


def bar(metric: str) -> Card:
    """A bar for every run, or for the mean of every group."""
    return {"type": "BAR", "metricKey": metric, "selectedMetricKeys": [metric]}


def line(metric: str, scale: Literal["log", "linear"]) -> Card:
    """A metric over its steps; of groups, the mean with a band from the lowest to the highest run."""
    return {
        "type": "LINE",
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "xAxisKey": "step",
        "scaleType": scale,
        "xAxisScaleType": "linear",
        "lineSmoothness": 0,
        "selectedXAxisMetricKey": "",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "range": {},
        "useGlobalXaxisKey": False,
        "useGlobalLineSmoothing": False,
    }


def dots(param: str, metric: str) -> Card:
    """A dot for every run: a parameter against a metric."""
    return {
        "type": "SCATTER",
        "xaxis": {"key": param, "type": "PARAM"},
        "yaxis": {"key": metric, "type": "METRIC"},
    }


def parallel(params: Sequence[str], metrics: Sequence[str]) -> Card:
    """Parallel coordinates of every run."""
    return {
        "type": "PARALLEL",
        "selectedParams": list(params),
        "selectedMetrics": list(metrics),
        "showAllRuns": False,
    }


def _section(id_: str, title: str) -> dict[str, Any]:
    return {
        "uuid": id_,
        "name": title,
        "display": True,
        "isReordered": False,
        "deleted": False,
        "isGenerated": False,
    }
