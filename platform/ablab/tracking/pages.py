"""The page of an ablation's experiment: its description, and links to the prepared views, the run and its report."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from ablab.tracking.executions import NOTE_TAG, note, run_page
from ablab.tracking.shared_view import prepared_views
from ablab.tracking.views import ExecutionView

PAGES_TAG = "ablab.pages"  # of an experiment: JSON, addresses within MLflow's pages by title
NOTE_LIMIT = 19_000  # an experiment's tag holds 20,000 characters
REPORT, CORPORA = "report.html", "corpora.html"
FIGURES = {
    "effects.png": "differences with 95 % intervals",
    "figures/learning-curves.svg": "learning curves with bands",
    **{f"figures/factor-{number}.svg": f"factor {number} with 95 % intervals" for number in range(1, 4)},
}
"""What MLflow's own charts cannot draw, by artifact of the run."""
DRAWN = (
    "MLflow's charts show means, ranges and single replicates; they draw no intervals. Those are in the report and its "
    "figures, computed from items and replicates."
)


def experiment_tags(view: ExecutionView, experiment_id: str, run_id: str) -> dict[str, str]:
    """Description, prepared views and their addresses for the execution whose run is `run_id`."""
    views = prepared_views(view)
    pages = {one.title: one.url("", experiment_id) for one in views}
    pages |= dict(_run_pages(view, experiment_id, run_id))
    updated = view.finished_ms or view.started_ms
    return {
        **{one.tag: one.value(updated) for one in views},
        PAGES_TAG: json.dumps(pages),
        NOTE_TAG: _note(view, pages)[:NOTE_LIMIT],
    }


def addresses(pages: str, base: str) -> dict[str, str]:
    """The value of `PAGES_TAG` as addresses on a server at `base`."""
    return {title: f"{base.rstrip('/')}/{page}" for title, page in json.loads(pages).items()}


def _run_pages(view: ExecutionView, experiment_id: str, run_id: str) -> Iterator[tuple[str, str]]:
    yield "run", run_page(experiment_id, run_id)
    for name, title in {REPORT: "report", CORPORA: "corpora", **FIGURES}.items():
        if name in view.artifacts:
            yield title, run_page(experiment_id, run_id, name)


def _note(view: ExecutionView, pages: Mapping[str, str]) -> str:
    """Markdown whose first line, all that a collapsed description shows, is the outcome."""
    outcome, _, body = note(view).partition("\n")
    links = " · ".join(f"[{title}]({page})" for title, page in pages.items())
    return f"{outcome}\n\n{links}\n\n{DRAWN}\n\n{body.strip()}"
