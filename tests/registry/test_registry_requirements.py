"""A missing server skips its tests, unless it was asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import pytest


@pytest.mark.parametrize(
    ("required", "outcome"),
    [("", pytest.skip.Exception), ("browser", pytest.skip.Exception), ("browser, postgres", pytest.fail.Exception)],
)
def test_what_is_missing_is_skipped_and_what_is_required_fails(
    require: Callable[[str, str], NoReturn],
    monkeypatch: pytest.MonkeyPatch,
    required: str,
    outcome: type[BaseException],
) -> None:
    monkeypatch.setenv("ABLAB_REQUIRE", required)
    with pytest.raises(outcome, match="no programs"):
        require("postgres", "no programs")
