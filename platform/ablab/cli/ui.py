"""`ablab ui`: MLflow on the embedded database."""

from __future__ import annotations

import argparse

from ablab.errors import InputError
from ablab.settings import load_settings
from ablab.tracking import Tracker, serve


def ui(arguments: argparse.Namespace) -> None:
    """Start the server, print what to open, and stop it cleanly with Ctrl-C."""
    settings = load_settings()
    if not 1 <= arguments.port <= 65_535:
        raise InputError(f"--port={arguments.port} must be from 1 to 65535")

    def ready(url: str) -> None:
        print(f"MLflow: {url}")
        for name, page in Tracker.of(settings).pages(url).items():
            print(f"  {name}: {page}")
        print("Ctrl-C stops it.", flush=True)

    Tracker.of(settings).check()
    print("starting MLflow (about 10 s) ...", flush=True)
    serve(settings, arguments.port, arguments.host, ready)
