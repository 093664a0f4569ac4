"""One undisturbed run for every test process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tiny_helper import undisturbed


@pytest.fixture(scope="session")
def finished_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Home of a complete tiny run; tests copy it before they change anything."""
    base = tmp_path_factory.getbasetemp()
    return undisturbed(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)
