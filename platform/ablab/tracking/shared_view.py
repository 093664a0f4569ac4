"""A prepared view of an ablation's experiment: a bar chart for each metric, a table of factors and scores.

MLflow keeps a shared view in an experiment tag, as the state of its page. It sorts by a metric, because sorting by
start time nests the runs of arms under their executions and leaves the charts empty.
"""

from __future__ import annotations

import base64
import json
import uuid
import zlib
from typing import Any
from urllib.parse import quote

from ablab.tracking.executions import ARM_TAG, EXECUTION_TAG
from ablab.tracking.flatten import safe_name
from ablab.tracking.views import ExecutionView

VIEW_ID = "ablab"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW_ID}"
_SPACE = uuid.UUID("5d0f6c0e-6a52-4b0f-9a35-1f7a5a2b9d11")  # of the ids of cards: the same view gives the same tag


def view_url(base: str, experiment_id: str, chart: bool = True) -> str:
    """Address of the prepared view on a server at `base`: charts beside the runs, or the table alone."""
    mode = "&compareRunsMode=CHART" if chart else ""
    return (
        f"{base.rstrip('/')}/#/experiments/{quote(experiment_id)}/runs"
        f"?viewStateShareKey={VIEW_ID}{mode}&workflowType=machine_learning"
    )


def view_tag(view: ExecutionView, updated_ms: int) -> str:
    """Value of the experiment's tag `VIEW_TAG`: the arms of this execution."""
    packed = base64.b64encode(zlib.compress(json.dumps(_state(view)).encode("utf-8"), 9)).decode("ascii")
    shown = {"name": f"Arms of {view.label}", "createdAt": updated_ms, "updatedAt": updated_ms}
    return json.dumps(shown | {"state": f"deflate;{packed}"})


def _state(view: ExecutionView) -> dict[str, Any]:
    headline = [safe_name(name) for name in view.headline]
    columns = [f"tags.`{ARM_TAG}`", *(f"metrics.`{name}`" for name in headline)]
    columns += [f"params.`{safe_name(path)}`" for path in _varying_factors(view)]
    rest = sorted({safe_name(name) for arm in view.arms for name in arm.metrics} - set(headline))
    scores, others = _section("Scores"), _section("Synthetic text")  # what has no card gets one of MLflow's, on top
    return {
        "searchFilter": f"tags.`{EXECUTION_TAG}` = '{view.id}' and tags.`{ARM_TAG}` != ''",
        "orderByKey": f"metrics.`{headline[0]}`" if headline else "attributes.start_time",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": {},
        "runsHiddenMode": "SHOW_ALL",
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": False,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupsExpanded": {},
        "groupBy": None,
        "compareRunSections": [scores, *([others] if rest else [])],
        "compareRunCharts": [_bar(name, scores) for name in headline] + [_bar(name, others) for name in rest],
    }


def _section(name: str) -> dict[str, Any]:
    return {
        "uuid": str(uuid.uuid5(_SPACE, name.lower())),
        "name": name,
        "display": True,
        "isReordered": False,
        "deleted": False,
        "isGenerated": False,
    }


def _bar(metric: str, section: dict[str, Any]) -> dict[str, Any]:
    return {
        "uuid": str(uuid.uuid5(_SPACE, metric)),
        "type": "BAR",
        "runsCountToCompare": 40,
        "metricSectionId": section["uuid"],
        "deleted": False,
        "isGenerated": False,
        "metricKey": metric,
        "selectedMetricKeys": [metric],
    }


def _varying_factors(view: ExecutionView) -> list[str]:
    """Factors that differ between arms, in the order in which they are declared."""
    values: dict[str, set[str | None]] = {}
    for path in dict.fromkeys(path for arm in view.arms for path in arm.factors):
        values[path] = {arm.factors.get(path) for arm in view.arms}
    return [path for path, seen in values.items() if len(seen) > 1]
