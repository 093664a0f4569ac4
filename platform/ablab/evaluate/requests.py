"""The stage `requests`: what suites ask as tokens, and before anything is trained whether a model can read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ablab.corpora.requests import Request, build_requests
from ablab.store.context import StageContext


def build(ctx: StageContext) -> dict[str, Any]:
    """As `ablab.corpora.requests.build_requests`, which cannot know what lm-eval's own tasks ask."""
    return build_requests(ctx, documents(ctx.inputs["suite"]))


def documents(suite: Path) -> dict[str, list[Request]]:
    """Completions that lm-eval's own tasks ask for, by suite; whole texts and text to write are cut where too long."""
    listed = json.loads((suite / "result.json").read_text(encoding="utf-8"))["suites"]
    if not any("lm_eval" in entry for entry in listed.values()):
        return {}
    from ablab.evaluate.external import asked, read_external  # torch and lm-eval, which other suites do not need here

    return {one.name: list(asked(one)) for one in read_external(suite)}
