"""What computed a stage: versions, code, host. Recorded in manifests, never hashed."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

LIBRARIES = ("torch", "transformers", "deepspeed", "lm_eval", "tokenizers", "numpy", "pyarrow", "datasets")


@functools.cache
def _fixed() -> dict[str, Any]:
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "absent"
    return {
        "ablab": metadata.version("ablab"),
        "commit": code_commit(),
        "libraries": versions,
        "python": platform.python_version(),
        "host": platform.node(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
    }


def provenance() -> dict[str, Any]:
    """Versions of ablab and its libraries, commit of the code (with '+changes' when it was edited), host."""
    return {"provenance": dict(_fixed())}


@functools.cache
def code_commit() -> str:
    """The commit of ablab's own source, or 'unknown' outside a git checkout."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "--short=12", "HEAD")
    if commit is None or git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return "unknown"
    return commit + ("+changes" if git("status", "--porcelain", "--untracked-files=no", ".") else "")
