"""Settings: where things lie. Each is one environment variable; none of them can change a result.

| variable | default | meaning |
|---|---|---|
| `ABLAB_PROJECT` | nearest parent folder that holds `ablations/` | root of the declarations |
| `ABLAB_HOME` | `<project>/.ablab` | everything ablab writes |
| `ABLAB_STORE` | `<home>/store` | folder of the stage directories, on a file system with locks |
| `ABLAB_REGISTRY_URL` | SQLite in home | SQLAlchemy URL of the registry |
| `ABLAB_STUDY_URL` | SQLite in home | SQLAlchemy URL of the trials of studies (Optuna); a database of their own |
| `ABLAB_DATA` | `<project>/data` | folder that relative corpus and suite paths start from |
| `ABLAB_HOSTFILE` | none | machines that every training is spread over, as DeepSpeed's launcher reads them |
| `MLFLOW_TRACKING_URI` | SQLite in home | MLflow |
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

_QUERY_SECRET = re.compile(r"([?&;\s][\w.-]*(?:pass|pwd|secret|token|key)[\w.-]*=)([^&\s]+)", re.IGNORECASE)
_USER = re.compile(r"([^:/@]+://[^:@]*):(.*)@", re.DOTALL)


@dataclass(frozen=True)
class Settings:
    """Resolved locations. URLs may hold passwords: print them through `redact` only."""

    project: Path
    home: Path
    store: str
    registry_url: str
    data: Path
    tracking_uri: str
    artifacts: Path  # MLflow's artifact root while the embedded database is used
    study_url: str = ""
    hostfile: str = ""


def settings_of(values: Mapping[str, str]) -> Settings:
    """Settings from the text of each field: how they travel to another process."""
    paths = {"project", "home", "data", "artifacts"}
    return Settings(**{name: Path(value) if name in paths else value for name, value in values.items()})  # type: ignore[arg-type]


def load_settings(project: Path | None = None) -> Settings:
    """Read the environment once. Creates nothing."""
    root = project or _path("ABLAB_PROJECT") or find_project(Path.cwd())
    home = _path("ABLAB_HOME") or root / ".ablab"
    return Settings(
        project=root,
        home=home,
        store=_store() or str(home / "store"),
        registry_url=os.environ.get("ABLAB_REGISTRY_URL") or _sqlite(home / "registry.db"),
        data=_path("ABLAB_DATA") or root / "data",
        tracking_uri=os.environ.get("MLFLOW_TRACKING_URI") or _sqlite(home / "mlflow.db"),
        artifacts=home / "mlartifacts",
        study_url=os.environ.get("ABLAB_STUDY_URL") or _sqlite(home / "studies.db"),
        hostfile=str(_path("ABLAB_HOSTFILE") or ""),
    )


def find_project(start: Path) -> Path:
    """The nearest folder at or above `start` that holds `ablations/`; `start` itself if there is none."""
    for folder in (start, *start.parents):
        if (folder / "ablations").is_dir():
            return folder
    return start


def redact(url: str) -> str:
    """A URL without its passwords, fit to be printed and logged; also one that was typed wrongly."""
    shown = _QUERY_SECRET.sub(r"\1***", url)
    if shown.startswith("sqlite"):
        return shown  # `:` and `@` are part of the path of a file
    if not re.match(r"[^:/@]+://", shown):
        return re.sub(r"^.*@", "***@", shown, flags=re.DOTALL)
    return _USER.sub(r"\1:***@", shown)


def without_user(url: str) -> str:
    """The address of a server as a browser is given it: without user and password."""
    return re.sub(r"(://)[^/]*@", r"\1", url)


def secrets_of(url: str) -> list[str]:
    """The passwords that `redact` hides, as they are written and as they are meant."""
    user = None if url.startswith("sqlite") else _USER.match(url)
    found = [*([user[2]] if user else []), *(secret for _, secret in _QUERY_SECRET.findall(url))]
    return [form for secret in found if secret for form in dict.fromkeys((secret, unquote(secret)))]


def _sqlite(file: Path) -> str:
    """The URL of a file: in a path `%` begins an escape and `?` ends it, for SQLAlchemy (and so for MLflow)."""
    return "sqlite:///" + str(file).replace("%", "%25").replace("?", "%3F")


def _store() -> str | None:
    """A path made absolute: processes with other working directories mean the same folder. An address as it stands."""
    value = os.environ.get("ABLAB_STORE", "")
    return value if "://" in value else str(_path("ABLAB_STORE") or "") or None


def _path(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value).expanduser().resolve() if value else None
