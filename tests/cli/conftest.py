"""Shared by the tests of commands."""

from __future__ import annotations

import pytest
from cli_helper import Invoke, call


@pytest.fixture
def ablab(capsys: pytest.CaptureFixture[str]) -> Invoke:
    """An `ablab` command in this process, and what it alone printed."""

    def invoke(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = call("ablab", *arguments)
        return (code, *capsys.readouterr())

    return invoke
