"""MLflow as a projection for people: rebuilt at any time from the store. Importing this package imports no mlflow."""

from ablab.tracking.connection import is_server
from ablab.tracking.live import LiveRun
from ablab.tracking.server import Server, serve, start_server
from ablab.tracking.shared_view import view_url
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
    "StageView",
    "Tracker",
    "is_server",
    "model_name",
    "serve",
    "start_server",
    "view_url",
]
