"""MLflow as a projection for people: rebuilt at any time from the store. Importing this package imports no mlflow."""

from ablab.tracking.connection import is_server
from ablab.tracking.live import LiveRun
from ablab.tracking.server import make_folder, mlflow_service, prepare_mlflow, start_server
from ablab.tracking.services import Server, Service, check_ports, serve
from ablab.tracking.tracker import Published, Tracker
from ablab.tracking.views import ArmView, DatasetView, ExecutionView, ModelView, StageView, model_name

__all__ = [
    "ArmView",
    "DatasetView",
    "ExecutionView",
    "LiveRun",
    "ModelView",
    "Published",
    "Server",
    "Service",
    "StageView",
    "Tracker",
    "check_ports",
    "is_server",
    "make_folder",
    "mlflow_service",
    "model_name",
    "prepare_mlflow",
    "serve",
    "start_server",
]
