"""`ablab ui`: MLflow on the embedded database."""

from __future__ import annotations

import argparse

from ablab.errors import InputError
from ablab.settings import load_settings
from ablab.tracking import Tracker, start_server


def ui(arguments: argparse.Namespace) -> None:
    """Start the server, print what to open, and stop it cleanly with Ctrl-C."""
    settings = load_settings()
    if not 1 <= arguments.port <= 65_535:
        raise InputError(f"--port={arguments.port} must be from 1 to 65535")
    print("starting MLflow (about 10 s) ...", flush=True)
    with start_server(settings, arguments.port, arguments.host) as server:
        print(f"MLflow: {server.url}")
        for name, url in Tracker.of(settings).pages(server.url).items():
            print(f"  {name}: {url}")
        print("Ctrl-C stops it.", flush=True)
        server.wait()
