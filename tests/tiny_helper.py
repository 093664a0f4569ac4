"""Real runs of the command at scale `tiny`, in a home of their own."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
NAME = "contrastive-vs-masked"


def environment(home: Path, **more: str) -> dict[str, str]:
    """A clean environment: embedded databases in `home`, nothing of the caller's settings."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ABLAB_", "MLFLOW_"))}
    return {**kept, "ABLAB_PROJECT": str(ROOT), "ABLAB_HOME": str(home), **more}


def command(program: str, *arguments: str) -> list[str]:
    """`run-ablation` or `ablab` of this environment."""
    return [str(Path(sys.executable).parent / program), *arguments]


def run_tiny(home: Path, *arguments: str, scale: str = "tiny", **more: str) -> subprocess.CompletedProcess[str]:
    """Run the tiny scale, or another one, to its end."""
    return subprocess.run(
        command("run-ablation", NAME, "--scale", scale, "--jobs", "2", *arguments),
        env=environment(home, **more),
        capture_output=True,
        text=True,
        timeout=1_200,
        check=False,
    )


def ablab(home: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run an `ablab` command."""
    return subprocess.run(
        command("ablab", *arguments),
        env=environment(home, **more),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def plan_stages(home: Path, *arguments: str) -> list[dict[str, Any]]:
    """The stages of the tiny plan as JSON."""
    done = run_tiny(home, "--plan", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    stages: list[dict[str, Any]] = json.loads(done.stdout)["stages"]
    return stages


def stage_bytes(home: Path) -> dict[str, str]:
    """SHA-256 of every file of every finished stage, except the manifests (they hold times and hosts)."""
    store = home / "store"
    return {
        path.relative_to(store).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(store.glob("[a-z]*/*/**/*"))
        if path.is_file() and path.name != "manifest.json" and path.parts[len(store.parts)] != "executions"
    }


def undisturbed(shared: Path, scale: str = "tiny") -> Path:
    """The home of one complete run at a scale, made once for all test processes that share a folder."""
    name = f"undisturbed-{scale}"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / f"{name}.done").exists():
            done = run_tiny(shared / name, scale=scale)
            assert done.returncode == 0, done.stdout + done.stderr
            (shared / f"{name}.out").write_text(done.stdout)
            (shared / f"{name}.done").touch()
    return shared / name
