"""Databases of each kind for the trials of a small study."""

from __future__ import annotations

from pathlib import Path

import pytest
from postgres_helper import postgres_server, postgres_url  # noqa: F401 (fixtures)
from study_helper import small_design

from ablab.search.places import Place, study_place
from ablab.search.storage import TrialStorage


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return study_place(f"sqlite:///{tmp_path / 'studies.db'}")
    return study_place(request.getfixturevalue("postgres_url"))


@pytest.fixture
def storage(place: Place) -> TrialStorage:
    return TrialStorage(place, "rates@1 tiny", small_design(), data="d")
