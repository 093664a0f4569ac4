"""One command's part of a study, from what was prepared to what was found, written and published."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ablab.errors import RunError
from ablab.registry.registry import Registry, open_registry
from ablab.runner.interrupted import mark_interrupted
from ablab.runner.progress import View
from ablab.runner.publisher import Publisher
from ablab.search.loop import Search
from ablab.search.outcome import Outcome
from ablab.search.prepare import PreparedStudy
from ablab.search.projection import write_outcome
from ablab.search.storage import TrialStorage
from ablab.search.stored import keep_judged, stored_study
from ablab.search.trial import Bench
from ablab.settings import Settings

REMEDY = "when MLflow works again, run: ablab publish"

Show = Callable[[Outcome, Path], None]


def run_study(
    prepared: PreparedStudy, settings: Settings, view: View, show: Show = lambda _outcome, _folder: None
) -> str:
    """Search, and judge the winners. What is in the store is not computed again; the same call goes on where it ended.

    show: given the outcome and the folder of its files, before MLflow is waited for. Returns why MLflow does not show
    the study, empty when it does. Raises InputError where the trials belong to another design, RunError when the
    search fails.
    """
    try:
        storage = TrialStorage(prepared.place, prepared.storage_name, prepared.design, prepared.data)
        storage.describe(prepared.about)
        with open_registry(settings.registry_url) as registry:
            mark_interrupted(registry, prepared.store)
            prepared.store.sweep()
            return _searched(prepared, settings, view, show, storage, registry)
    except OSError as error:  # of this process; those of stages are told with the trial
        raise RunError(f"{error}", "fix the cause (a full disk?) and run the same command again: it resumes") from error


def _searched(
    prepared: PreparedStudy, settings: Settings, view: View, show: Show, storage: TrialStorage, registry: Registry
) -> str:
    def task(ended: bool) -> dict[str, Any]:
        return {"study": prepared.storage_name, "ended": ended}

    log = settings.home / "logs" / f"study-{secrets.token_hex(4)}" / "publisher.log"
    with Publisher(settings, log, module="ablab.search.publisher") as publisher:
        bench = Bench(
            chosen=prepared.chosen,
            scale=prepared.scale,
            settings=settings,
            store=prepared.store,
            registry=registry,
            placement=prepared.placement,
            view=view,
            on_started=publisher.stage_started,
            on_done=publisher.stage_done,
        )
        with bench:
            try:
                outcome = Search(prepared, storage, bench, view, lambda: publisher.publish_soon(task(False))).run()
            except RunError:
                _published(publisher, task(True))  # what there is; the cause is on its way
                raise
        keep_judged(storage, outcome)
        stored = stored_study(prepared.place, prepared.storage_name)
        folder = stored.folder(settings.home)
        write_outcome(folder, stored)
        show(stored.outcome, folder)
        return _published(publisher, task(True))


def _published(publisher: Publisher, task: dict[str, Any]) -> str:
    """Why it failed, if it did: the study has ended whether or not MLflow can show it."""
    try:
        publisher.publish_whole(task)
    except RunError as error:
        return f"{error}".partition("\n")[0] + f"; {REMEDY}"
    return ""
