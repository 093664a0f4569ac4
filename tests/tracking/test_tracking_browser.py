"""The prepared views in a real browser: results of a real run, on a real server."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from tiny_helper import NAME, undisturbed

from ablab.settings import Settings
from ablab.tracking import Tracker, start_server
from ablab.tracking.services import free_port

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
PATIENCE = 60_000.0  # milliseconds
DRAWN = ".js-plotly-plot .point, .js-plotly-plot .js-line, .js-plotly-plot .parcoords"


@pytest.fixture(scope="module")
def chromium(require: Callable[[str, str], NoReturn]) -> str:
    """The browser's program; asked for before anything is run for it."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or require("browser", "Chromium is missing")


@pytest.fixture(scope="module")
def home(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ARG001 (see there)
    """The home of a finished run of the shipped ablation: `ABLAB_BROWSER_HOME`, or else one of scale smoke."""
    if given := os.environ.get("ABLAB_BROWSER_HOME"):
        return Path(given)
    base = tmp_path_factory.getbasetemp()
    return undisturbed(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base, "smoke")


@pytest.fixture(scope="module")
def comparison(home: Path) -> dict[str, Any]:
    """What the run found, from its own files."""
    (file,) = home.glob(f"results/{NAME}@*/*/comparison.json")
    found: dict[str, Any] = json.loads(file.read_text())
    return found


@pytest.fixture(scope="module")
def pages(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Addresses on a server over a copy of the run's MLflow database, as `ablab ui` prints them."""
    copy = tmp_path_factory.mktemp("served")
    shutil.copyfile(home / "mlflow.db", copy / "mlflow.db")
    uri = f"sqlite:///{copy / 'mlflow.db'}"
    settings = Settings(copy, copy, str(home / "store"), "", copy, uri, home / "mlartifacts")
    with start_server(settings, free_port()) as server:
        yield Tracker.of(settings).pages(server.url)[NAME]


@pytest.fixture(scope="module")
def page(chromium: str, pages: dict[str, str]) -> Iterator[Any]:  # noqa: ARG001 (asked first)
    """A page of a real browser, so high that every chart is drawn."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1_700, "height": 4_000})
        page.set_default_timeout(PATIENCE)
        page.add_init_script(NO_ASSISTANT)
        yield page
        browser.close()


def opened(page: Any, address: str, charts: int = 0) -> str:
    """The text of a page, once its charts are drawn; none is empty."""
    page.goto("about:blank")  # else only the address changes and the page keeps its state
    page.goto(address)
    page.wait_for_selector("text=/[1-9][0-9]* matching runs/")
    if charts:
        filled = f"[...document.querySelectorAll('.js-plotly-plot')].filter(e => e.querySelector({DRAWN!r})).length"
        page.wait_for_function(f"{filled.replace('.js-plotly-plot .', '.')} >= {charts}")
        assert page.locator(".js-plotly-plot").count() == charts
    text: str = page.inner_text("body")
    assert "No chart data" not in text
    return text


def missing_in_bars(page: Any, values: list[float]) -> list[float]:
    """Those that no bar states, to two digits after the point."""
    texts = page.eval_on_selector_all(".bartext", "all => all.map(one => one.textContent)")
    stated = [float(text.replace("\u2212", "-")) for text in texts]
    return [value for value in values if not any(abs(value - one) < 0.0051 for one in stated)]


def means(comparison: dict[str, Any], arms: list[str]) -> list[float]:
    carded = {metric["name"] for metric in comparison["metrics"]}  # bits per byte stand in the run alone
    return [one["mean"] for one in comparison["scores"] if one["arm"] in arms and one["metric"] in carded]


def test_means_of_every_arm_stand_in_bars(page: Any, pages: dict[str, str], comparison: dict[str, Any]) -> None:
    metrics, arms = len(comparison["metrics"]), comparison["arms"]
    text = opened(page, pages["arms by score"])
    page.wait_for_function(f"document.querySelectorAll('.bartext').length >= {metrics * len(arms)}")
    assert not missing_in_bars(page, means(comparison, arms))
    assert "No chart data" not in text
    assert all(metric["name"] in text for metric in comparison["metrics"])


def test_every_replicate_is_a_dot(page: Any, pages: dict[str, str], comparison: dict[str, Any]) -> None:
    metrics, arms, replicates = (len(comparison[name]) for name in ("metrics", "arms", "replicates"))
    opened(page, pages["spread over replicates"], charts=metrics)
    assert page.locator(".scatterlayer .point").count() == metrics * arms * replicates


def test_learning_curves_have_a_line_for_every_arm(
    page: Any, pages: dict[str, str], comparison: dict[str, Any]
) -> None:
    suites = {score["metric"] for score in comparison["oracle"]["scores"]}  # of the declared learning curves
    charts = 2 + len(suites) + 1  # losses, suites, their mean
    text = opened(page, pages["learning curves"], charts=charts)
    for name in ("validation_loss_nats", "aggregate"):
        assert all(f"{arm} (learning/{name})" in text for arm in comparison["arms"][:2])
    assert page.locator(".scatterlayer .js-line").count() >= charts * len(comparison["arms"])


def test_factors_stand_against_scores_and_side_by_side(
    page: Any, pages: dict[str, str], comparison: dict[str, Any]
) -> None:
    opened(page, pages["factor against score"])
    page.wait_for_selector(".parcoords")
    assert "synthetic.decoding.strength vs. aggregate" in page.inner_text("body")
    top = [m for m in comparison["metrics"] if m["kind"] != "suite"]
    synthetic = [arm for arm in comparison["arms"] if not arm.startswith("real-only")]
    having = len(comparison["arms"]) + 2 * len(synthetic)  # a share; a mask and a strength: real text has neither
    expected = having * len(top) * len(comparison["replicates"])
    page.wait_for_function(f"document.querySelectorAll('.scatterlayer .point').length == {expected}")


def test_differences_from_the_control_are_the_effects(
    page: Any, pages: dict[str, str], comparison: dict[str, Any]
) -> None:
    opened(page, pages["difference from the control"], charts=len(comparison["metrics"]))
    effects = [e for e in comparison["effects"] if e["against"] == comparison["control"]]
    page.wait_for_function(f"document.querySelectorAll('.bartext').length >= {len(effects)}")
    assert not missing_in_bars(page, [effect["estimate"] for effect in effects])


def test_the_table_has_factors_scores_and_verdicts(
    page: Any, pages: dict[str, str], comparison: dict[str, Any]
) -> None:
    text = opened(page, pages["table with factors, scores, verdicts"])
    claim = comparison["claims"][0]
    for arm in comparison["arms"]:
        assert f"{arm} · " in text
    assert claim["verdict"] in text
    assert "synthetic.decoding.strength" in text
    assert "ablab.verdicts" in text
    counted = Counter(one["verdict"] for one in comparison["claims"])
    outcome = ", ".join(f"{number} {verdict}" for verdict, number in sorted(counted.items()))
    assert f"{len(comparison['claims'])} claims: {outcome}" in text


def follow(page: Any, link: str) -> None:
    """Open what a link of a description leads to, which MLflow opens in another tab."""
    target = page.get_attribute(f"a:text-is('{link}')", "href")
    server = page.url.partition("#")[0]
    page.goto("about:blank")
    page.goto(server + target)


def test_the_report_is_one_click_away_from_the_description(page: Any, pages: dict[str, str]) -> None:
    opened(page, pages["table with factors, scores, verdicts"])
    page.click("text=claims: ")
    follow(page, "report")
    frame = page.wait_for_selector("iframe").content_frame()
    frame.wait_for_selector("h1")
    assert NAME in frame.inner_text("body")


def test_an_arm_leads_to_its_training_and_on_to_what_that_was_made_from(page: Any, pages: dict[str, str]) -> None:
    opened(page, pages["table with factors, scores, verdicts"])
    page.click("a:has-text('contrastive · ')")
    for link, found in (("train", "Stage train"), ("tokens", "Stage tokens"), ("corpus", "Stage corpus")):
        follow(page, link)
        page.wait_for_selector(f"text={found}")
