from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from ablab.tracking import ExecutionView, Server, Tracker, view_url

pytestmark = pytest.mark.browser

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NO_ASSISTANT = "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"


@pytest.fixture(scope="session")  # as wide as `server`, so that it is asked for first
def page(require: Callable[[str, str], NoReturn]) -> Iterator[Any]:
    """A page of a real browser."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        require("browser", "Chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1_600, "height": 1_000})
        page.add_init_script(NO_ASSISTANT)
        yield page
        browser.close()


def test_the_experiment_page_shows_the_outcome_the_arms_and_their_scores(
    page: Any, server: Server, tmp_path: Path, make_execution: Callable[..., ExecutionView]
) -> None:
    published = Tracker(server.url, tmp_path).publish_execution(make_execution())
    page.goto(view_url(server.url, published.experiment_id, chart=False))
    page.wait_for_selector("text=contrastive · t42-g1", timeout=30_000)
    shown = page.inner_text("body")
    for text in ("Contrast: inconclusive.", "real-only · t42-g1", "62.25", "mixture.share", "reasoning"):
        assert text in shown
    page.goto("about:blank")  # else only the address changes and the page keeps its state
    page.goto(view_url(server.url, published.experiment_id))
    page.wait_for_selector("text=Add chart", timeout=30_000)
    page.wait_for_selector("text=31.50", timeout=30_000)  # a number inside a bar


def test_a_link_on_an_arms_page_leads_to_the_stage_that_computed_it(
    page: Any, server: Server, tmp_path: Path, make_execution: Callable[..., ExecutionView]
) -> None:
    view = make_execution()
    published = Tracker(server.url, tmp_path).publish_execution(view)
    page.goto(view_url(server.url, published.experiment_id, chart=False))
    page.click("text=contrastive · t42-g1", timeout=30_000)
    link = page.get_attribute("a:text-is('train')", "href", timeout=30_000)
    page.goto(f"{server.url}/{link}")
    page.wait_for_selector(f"text=train · {view.arms[1].stages['train'][:8]}", timeout=30_000)
