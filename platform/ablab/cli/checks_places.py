"""What `ablab doctor` finds out about the places of a project: declarations, store, databases, data, secrets."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import sqlalchemy

from ablab.cli.checks import Check, nearest
from ablab.corpora.fetch_inventory import list_items
from ablab.corpora.filecheck import FactCache
from ablab.errors import AblabError, InputError
from ablab.registry.database import Database
from ablab.registry.declarations import FOLDER, Declarations, load_declarations
from ablab.registry.schema import HEAD, stored_revision
from ablab.runner.prepare import open_store
from ablab.search.places import study_place
from ablab.settings import Settings, redact
from ablab.spec.recipe import Recipe
from ablab.spec.suites import BabyLMSuite
from ablab.store.files import write_json
from ablab.store.filesystems import NETWORKS, file_system
from ablab.store.locks import try_lock
from ablab.tracking import Tracker
from ablab.tracking.connection import is_server, sqlite_path

EWOK = "ABLAB_EWOK_PASSWORD"
OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
_TRY_LOCK = "import fcntl, sys; fcntl.flock(open(sys.argv[1], 'ab'), fcntl.LOCK_EX | fcntl.LOCK_NB)"

Recipes = dict[tuple[str, str], list[Recipe]]  # of all arms, by ablation and scale


def place_checks(settings: Settings) -> Iterator[Check]:
    """Everything that settings name."""
    declared = load_declarations(settings.project)
    recipes = _recipes(declared)
    yield project_check(settings, declared)
    yield store_check(settings)
    yield registry_check(settings)
    yield studies_check(settings)
    yield tracking_check(settings, declared)
    yield data_check(settings, recipes)
    yield ewok_check(recipes, os.environ)
    yield hub_check(os.environ)


def project_check(settings: Settings, declared: Declarations) -> Check:
    """The declarations can be read."""
    if not (settings.project / FOLDER).is_dir():
        found = f"no folder {FOLDER}/ in {settings.project} or above"
        return Check("project", "warn", found, "go to a project, set ABLAB_PROJECT, or start one: ablab init DIR")
    found = f"{settings.project}: {len(declared.ablations)} ablations"
    if declared.faults:
        more = f" (and {len(declared.faults) - 1} more)" if len(declared.faults) > 1 else ""
        remedy = "`ablab list` shows every fault"
        return Check("project", "fail", f"{declared.faults[0]}{more}", remedy, {"faults": declared.faults})
    return Check("project", "ok", found)


def store_check(settings: Settings) -> Check:
    """Files can be written, renamed in one step and locked where the stages are (or will be)."""
    try:
        root = open_store(settings).root
    except InputError as error:
        return Check("store", "fail", *_halves(error))
    folder = nearest(root)
    try:
        trial = Path(tempfile.mkdtemp(prefix=".ablab-doctor-", dir=folder))
    except OSError as error:
        return Check("store", "fail", f"{folder} cannot be written: {error.strerror}", _ANOTHER)
    try:
        fault = _trial_fault(trial)
    finally:
        shutil.rmtree(trial, ignore_errors=True)
    if fault:
        return Check("store", "fail", f"{root}: {fault}", _ANOTHER)
    kind = file_system(folder)
    found = f"{root}: can be written, renamed and locked" + ("" if root.exists() else " (made by the first run)")
    if kind in NETWORKS:
        remedy = "make sure that its locks hold between machines (mount option of the file system)"
        return Check("store", "warn", f"{found}; a network file system, {kind}", remedy)
    return Check("store", "ok", found)


_ANOTHER = "set ABLAB_STORE or ABLAB_HOME to a folder of a file system with locks"


def _trial_fault(trial: Path) -> str | None:
    """What an empty folder of this file system cannot do."""
    try:
        for name in ("one", "two"):
            (trial / name).mkdir()
            write_json(trial / name / "file.json", {})
        (trial / "one").rename(trial / "three")
        with suppress(OSError):
            (trial / "two").rename(trial / "three")
            return "renaming a folder replaces another one"
        lock = try_lock(trial / "lock")
        if lock is None:
            return "a lock of a new file is taken"
        with lock:
            other = subprocess.run(
                [sys.executable, "-I", "-c", _TRY_LOCK, trial / "lock"], capture_output=True, check=False
            )
            return None if other.returncode else "two processes can lock one file"
    except OSError as error:
        return f"cannot be written, renamed and locked ({error.strerror})"


def registry_check(settings: Settings) -> Check:
    """It can be reached, and its tables are those that this ablab knows. Makes and migrates nothing."""
    try:
        database = Database(settings.registry_url)
        if database.path is not None and not database.path.exists():
            return _absent("registry", database.shown, database.path)
        try:
            revision = stored_revision(database)
        finally:
            database.close()
    except InputError as error:
        return Check("registry", "fail", *_halves(error))
    if database.path is not None:
        if not os.access(database.path, os.W_OK):
            return Check("registry", "fail", f"{database.shown} cannot be written", "correct its permissions")
        if file_system(database.path) in NETWORKS:
            remedy = "SQLite is not safe there when several machines write: use PostgreSQL, or a local disk"
            return Check("registry", "warn", f"{database.shown} lies on a network file system", remedy)
    if revision != HEAD:
        found = f"{database.shown}: tables of revision {revision or 'none'}, newest {HEAD}"
        return Check("registry", "warn", found, "the next run brings them up to date; keep a copy if others use it")
    return Check("registry", "ok", f"{database.shown}: reachable, tables up to date ({HEAD})")


def studies_check(settings: Settings) -> Check:
    """The database of the trials of studies can be reached."""
    try:
        place = study_place(settings.study_url)
    except InputError as error:
        return Check("studies", "fail", *_halves(error))
    if place.path is not None and not place.path.exists():
        return _absent("studies", place.shown, place.path, "study")
    return Check("studies", "ok", f"{place.shown}: reachable")


def tracking_check(settings: Settings, declared: Declarations) -> Check:
    """MLflow can be reached, and its database is of the installed MLflow."""
    shown, path = redact(settings.tracking_uri), sqlite_path(settings.tracking_uri)
    try:
        Tracker.of(settings).check(*declared.ablations)
    except InputError as error:
        return Check("mlflow", "fail", *_halves(error))
    if path is not None and not path.exists():
        return _absent("mlflow", shown, path)
    if is_server(settings.tracking_uri):
        return Check("mlflow", "ok", f"{shown}: the server answers")
    stored, newest = _mlflow_revision(settings.tracking_uri), _newest_mlflow_revision()
    if stored not in (None, newest):
        remedy = "mlflow db upgrade URI (after a copy), or delete the database: `ablab publish` rebuilds it"
        return Check("mlflow", "fail", f"{shown}: tables of revision {stored}, this MLflow needs {newest}", remedy)
    return Check("mlflow", "ok", f"{shown}: reachable, " + (f"tables up to date ({newest})" if stored else "empty"))


def _mlflow_revision(uri: str) -> str | None:
    engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool)
    try:
        if not sqlalchemy.inspect(engine).has_table("alembic_version"):
            return None
        with engine.connect() as connection:
            revision: str | None = connection.execute(
                sqlalchemy.text("SELECT version_num FROM alembic_version")
            ).scalar()
            return revision
    finally:
        engine.dispose()


def _newest_mlflow_revision() -> str | None:
    """From the migrations that MLflow ships: importing it would take a second."""
    from alembic.script import ScriptDirectory

    found = importlib.util.find_spec("mlflow")
    assert found is not None
    assert found.origin is not None
    return ScriptDirectory(str(Path(found.origin).parent / "store" / "db_migrations")).get_current_head()


def _absent(name: str, shown: str, path: Path, maker: str = "run") -> Check:
    """A SQLite file that the first run (or study) makes, if it can."""
    folder = nearest(path.parent)
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        found = f"{shown} cannot be made: {folder} cannot be written ({error.strerror})"
        return Check(name, "fail", found, "set ABLAB_HOME to another place")
    return Check(name, "ok", f"{shown}: made by the first {maker}")


def data_check(settings: Settings, recipes: Recipes) -> Check:
    """Which declared designs have all their files. Looks at names and sizes only; a plan checks the content."""
    facts = FactCache(None)  # words are not asked for
    try:
        lacking = {
            f"{name} --scale {scale}": [item.name for item in list_items(of, settings.data, facts) if item.missing()]
            for (name, scale), of in recipes.items()
        }
    except (OSError, ValueError) as error:
        found = f"{settings.data} cannot be read: {type(error).__name__}: {error}"
        return Check("data", "fail", found, "correct its permissions, or remove the damaged file and fetch it again")
    lacking = {design: names for design, names in lacking.items() if names}
    whole = len(recipes) - len(lacking)
    if not lacking:
        return Check("data", "ok", f"{settings.data}: nothing is missing for {whole} designs")
    scales = Counter(design.rpartition(" ")[2] for design in lacking)
    listed = ", ".join(f"{count} at {scale}" for scale, count in scales.items())
    found = f"{settings.data}: {whole} designs have all their files, {len(lacking)} do not ({listed})"
    remedy = f"`ablab data list {next(iter(lacking))}` shows what is missing; set ABLAB_DATA if it lies elsewhere"
    return Check("data", "warn", found, remedy, {"missing": lacking})


def ewok_check(recipes: Recipes, environment: Mapping[str, str]) -> Check:
    """Whether the password is set; its value is never shown."""
    needed = any(
        isinstance(suite, BabyLMSuite) and suite.task == "ewok"
        for of in recipes.values()
        for recipe in of
        for suite in recipe.evaluation.suites
    )
    if environment.get(EWOK):
        return Check("ewok", "ok", f"{EWOK} is set")
    if not needed:
        return Check("ewok", "ok", "no ablation uses EWoK, so no password is needed")
    return Check("ewok", "warn", f"{EWOK} is not set", "set it to the password that the authors of EWoK publish")


def hub_check(environment: Mapping[str, str]) -> Check:
    """Whether the Hugging Face Hub may be asked. Nothing is sent."""
    off = [name for name in OFFLINE if environment.get(name, "").upper() in ("1", "ON", "YES", "TRUE")]
    if off:
        remedy = "`ablab data fetch` needs the network: unset it to fetch; runs need no network"
        return Check("hub", "warn", f"{', '.join(off)} is set", remedy)
    return Check("hub", "ok", "not offline (only `ablab data fetch` uses the network)")


def _recipes(declared: Declarations) -> Recipes:
    """The recipes of every arm of every design that can be read."""
    return {
        (name, scale): list(design.recipes().values())
        for name, loaded in declared.ablations.items()
        for scale, design in loaded.ablation.designs.items()
    }


def _halves(error: AblabError) -> tuple[str, str]:
    """`rule, value; remedy` of the first fault."""
    found, _, remedy = str(error).splitlines()[0].partition("; ")
    return found, remedy
