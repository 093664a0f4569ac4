"""optuna-dashboard serves the trials of a study, and ends when it is told to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from optuna.trial import TrialState
from study_helper import small_design

from ablab.search.dashboard import dashboard_command, dashboard_pages
from ablab.search.places import Place
from ablab.search.points import drawn
from ablab.search.storage import TrialStorage
from ablab.tracking.services import free_port


def answer(process: subprocess.Popen[bytes], url: str) -> Any:
    """What a server says as soon as it answers."""
    while process.poll() is None:
        try:
            with urlopen(url, timeout=10) as response:
                return response.read()
        except HTTPError:
            raise
        except URLError:  # it does not listen yet
            time.sleep(0.1)
    raise AssertionError(f"ended with {process.returncode}")


def test_the_dashboard_shows_the_trials_and_ends_when_told(place: Place, storage: TrialStorage) -> None:
    trial = storage.claim(3)
    assert trial is not None
    drawn(trial, small_design().space)
    storage.tell(trial, TrialState.COMPLETE, [12.5])
    port = free_port()
    command, environment = dashboard_command(place.url, "127.0.0.1", port)
    assert not any(place.url in word for word in command), "a command line shows everyone its passwords"
    process = subprocess.Popen(command, env={**os.environ, **environment}, stderr=subprocess.DEVNULL)
    try:
        base = f"http://127.0.0.1:{port}"
        assert b"<html" in answer(process, f"{base}/dashboard").lower()
        (name, page), *_ = dashboard_pages(place.url, base).items()
        assert name == "rates@1 tiny"
        assert b"<html" in answer(process, page).lower()
        shown = json.loads(answer(process, f"{base}/api/studies/{page.rpartition('/')[2]}"))
        assert [one["values"] for one in shown["trials"]] == [[12.5]]
    finally:
        process.terminate()
    assert process.wait(timeout=30) == -signal.SIGTERM


def test_without_a_database_there_are_no_pages(tmp_path: Path) -> None:
    assert dashboard_pages(f"sqlite:///{tmp_path / 'none.db'}", "http://127.0.0.1:1") == {}
    assert not (tmp_path / "none.db").exists()
