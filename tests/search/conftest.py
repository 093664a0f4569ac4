"""A database for the trials of a small study."""

from __future__ import annotations

from pathlib import Path

import pytest
from study_helper import small_design

from ablab.search.places import Place, study_place
from ablab.search.storage import TrialStorage


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return study_place(f"sqlite:///{tmp_path / 'studies.db'}")


@pytest.fixture
def storage(place: Place) -> TrialStorage:
    return TrialStorage(place, "rates@1 tiny", small_design(), data="d")
