"""`ablab ui`: MLflow and optuna-dashboard on the embedded databases."""

from __future__ import annotations

import argparse

from ablab.runner.interrupted import mark_in_store
from ablab.runner.prepare import open_store
from ablab.search.dashboard import dashboard_command, dashboard_pages
from ablab.settings import Settings, load_settings, without_user
from ablab.tracking import (
    Service,
    Tracker,
    check_ports,
    is_server,
    make_folder,
    mlflow_service,
    prepare_mlflow,
    serve,
)


def ui(arguments: argparse.Namespace) -> None:
    """Start the servers, print what to open, and stop them cleanly with Ctrl-C. An MLflow server of others' is used."""
    settings = load_settings()
    dashboard = _dashboard(settings, arguments.studies_port, arguments.host)
    mlflow = None
    if not is_server(settings.tracking_uri):
        mlflow = mlflow_service(settings, arguments.port, arguments.host)
    services = [service for service in (mlflow, dashboard) if service is not None]
    check_ports(services)
    tracker = Tracker.of(settings)
    tracker.check(writing=False)
    dashboard_pages(settings.study_url, dashboard.url)  # its database is looked at before anything is started
    make_folder(settings.home)
    store = open_store(settings)
    if mlflow is not None:
        prepare_mlflow(settings)
    print(f"starting {' and '.join(service.name for service in services)} (about 15 s) ...", flush=True)

    def ready() -> None:
        base = mlflow.url if mlflow else without_user(settings.tracking_uri)
        if mlflow:  # a server of others' is only read
            from ablab.search.publisher import end_abandoned  # with Optuna and matplotlib

            mark_in_store(store)
            end_abandoned(tracker, store, settings)
        print(f"\nMLflow: {base}")
        _print(tracker.pages(base), "no ablation was run yet; try: run-ablation contrastive-vs-masked")
        print(f"\nStudies: {dashboard.url}")
        studies = dashboard_pages(settings.study_url, dashboard.url)
        _print({name: {"trials": page} for name, page in studies.items()}, "no study was run yet")
        print("\nCtrl-C stops both." if mlflow else "\nCtrl-C stops it.", flush=True)

    serve(services, ready)


def _dashboard(settings: Settings, port: int, host: str) -> Service:
    command, environment = dashboard_command(settings.study_url, host, port)
    return Service(
        name="optuna-dashboard",
        command=command,
        environment=environment,
        host=host,
        port=port,
        option="--studies-port",
        health="/dashboard",
        log=settings.home / "optuna-dashboard.log",
    )


def _print(pages: dict[str, dict[str, str]], nothing: str) -> None:
    """Addresses in a column: they are there to be clicked and copied."""
    for name, found in pages.items():
        print(f"  {name}")
        width = max(map(len, found))
        for title, page in found.items():
            print(f"    {title:{width}}  {page}")
    if not pages:
        print(f"  {nothing}")
