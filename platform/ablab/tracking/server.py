"""An MLflow server of our own over the embedded database.

It runs without MLflow's job runner (seven more processes, a gigabyte). Measured: 9 to 15 s until it answers, 535 MB.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from ablab.errors import InputError
from ablab.settings import Settings, redact
from ablab.tracking.connection import connect, exclusive, is_server
from ablab.tracking.services import Server, Service, check_ports


def mlflow_service(settings: Settings, port: int = 5000, host: str = "127.0.0.1") -> Service:
    """MLflow over the settings' database and artifacts."""
    return Service(
        name="MLflow",
        command=[sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1"],
        # URLs go through the environment: a command line would show their passwords to everyone on the machine
        environment={
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_BACKEND_STORE_URI": settings.tracking_uri,
            "MLFLOW_ARTIFACTS_DESTINATION": settings.artifacts.absolute().as_uri(),
        },
        host=host,
        port=port,
        option="--port",
        health="/health",
        log=settings.home / "mlflow-server.log",
    )


def prepare_mlflow(settings: Settings) -> None:
    """Make what the server needs: its folder, and its tables before its processes look for them.

    Raises `InputError` when the settings name a server (open that one) or the folder cannot be made.
    """
    if is_server(settings.tracking_uri):
        raise InputError(f"MLFLOW_TRACKING_URI={redact(settings.tracking_uri)} is a server already; open it instead")
    make_folder(settings.artifacts)
    with exclusive(settings.tracking_uri):
        connect(settings.tracking_uri)


def make_folder(folder: Path) -> None:
    """Raises `InputError` where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{error}; set ABLAB_HOME to a folder that can be written") from error


def start_server(settings: Settings, port: int, host: str = "127.0.0.1") -> Server:
    """Serve the settings' MLflow at `http://host:port`; returns when it answers.

    Raises `InputError` when the settings name a server or the port is in use, `RunError` when it does not come up.
    """
    service = mlflow_service(settings, port, host)
    check_ports([service])
    prepare_mlflow(settings)
    server = Server(service)
    try:
        server.wait_until_up(threading.Event())
    except BaseException:
        server.stop()
        raise
    return server
