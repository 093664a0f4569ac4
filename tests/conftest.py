"""Shared by all tests: what happens when something that a test needs is not on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NoReturn

import pytest

Require = Callable[[str, str], NoReturn]


@pytest.fixture(scope="session")
def require() -> Require:
    """`require(feature, reason)`: skip, or fail where `ABLAB_REQUIRE` (comma separated) names the feature."""
    return _skip_or_fail


def _skip_or_fail(feature: str, reason: str) -> NoReturn:
    required = {name.strip() for name in os.environ.get("ABLAB_REQUIRE", "").split(",")}
    if feature in required:
        pytest.fail(f"ABLAB_REQUIRE names {feature}, but {reason}", pytrace=False)
    pytest.skip(f"{feature}: {reason}")
