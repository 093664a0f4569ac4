"""optuna-dashboard over the database of studies: a process of its own, which `ablab ui` starts beside MLflow."""

from __future__ import annotations

import os
import socket
import sys
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIServer, make_server

from sqlalchemy import create_engine, inspect, text

from ablab.search.places import VARIABLE, study_place


def dashboard_command(study_url: str, host: str, port: int) -> tuple[list[str], dict[str, str]]:
    """Command line and additional environment of the process that serves `http://host:port/dashboard`.

    It ends with SIGTERM. The URL goes through the environment: a command line would show its password to everyone on
    the machine.
    """
    command = [sys.executable, "-P", "-c", "from ablab.search.dashboard import main; main()", host, str(port)]
    return command, {VARIABLE: study_url}


def dashboard_pages(study_url: str, base: str) -> dict[str, str]:
    """Address of the page of every study on a dashboard at `base`, by the name that its trials are filed under.

    Raises InputError for a database that cannot be used.
    """
    place = study_place(study_url)
    if place.path is not None and not place.path.exists():
        return {}
    engine = create_engine(place.url, **place.engine_options())
    with engine.connect() as connection:
        if not inspect(connection).has_table("studies"):
            return {}
        found = connection.execute(text("SELECT study_name, study_id FROM studies ORDER BY study_id"))
        return {str(name): f"{base}/dashboard/studies/{number}" for name, number in found}


def main() -> None:
    """The process: makes the tables where they are missing, and serves until it is told to end."""
    from optuna.storages import RDBStorage
    from optuna_dashboard import wsgi

    host, port = sys.argv[1], int(sys.argv[2])
    place = study_place(os.environ[VARIABLE])
    with place.locked():
        storage = RDBStorage(place.url, engine_kwargs=place.engine_options())
    kind = _Server6 if ":" in host else _Server
    with make_server(host, port, wsgi(storage), server_class=kind) as server:
        server.serve_forever()


class _Server(ThreadingMixIn, WSGIServer):
    """A thread per connection: browsers open some that they never use."""

    daemon_threads = True


class _Server6(_Server):
    address_family = socket.AF_INET6
