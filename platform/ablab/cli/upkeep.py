"""`ablab lock`, `ablab reindex`, `ablab publish`."""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ablab.cli.common import print_json
from ablab.cli.studies import studies_in_store
from ablab.errors import InputError, did_you_mean
from ablab.registry import versions
from ablab.registry.records import VersionRecord
from ablab.registry.registry import open_registry
from ablab.registry.reindex import reindex as rebuild
from ablab.runner.prepare import open_store
from ablab.search.declared import is_study, lock_study
from ablab.search.going_on import is_going_on
from ablab.settings import Settings, load_settings
from ablab.spec.edit import dump
from ablab.store import Store
from ablab.store.executions import read_executions
from ablab.store.store import MANIFEST

if TYPE_CHECKING:
    from ablab.search.stored import StoredStudy


def lock(arguments: argparse.Namespace) -> None:
    """Pin a declaration; the registry learns of an ablation."""
    settings = load_settings()
    if is_study(settings.project, arguments.name):
        path = lock_study(settings.project, arguments.name)
        print(f"pinned {path.stem} in {os.path.relpath(path)}; commit it with the declaration")
        return
    with open_registry(settings.registry_url) as registry:  # first: nothing is pinned that it cannot be told
        path = versions.lock(settings.project, arguments.name)
        number = int(path.stem.rpartition("@")[2])
        pinned = versions.load_pinned(settings.project, arguments.name, number)
        registry.record_version(_record(pinned))
    print(f"pinned {arguments.name}@{number} in {os.path.relpath(path)}; commit it with the declaration")


def reindex(arguments: argparse.Namespace) -> None:  # noqa: ARG001 (every command is given its arguments)
    """Make the registry say what the files say."""
    settings = load_settings()
    manifests = _manifests(open_store(settings))
    with open_registry(settings.registry_url) as registry:
        done = rebuild(registry, map(_record, versions.all_pinned(settings.project)), manifests)
    print(
        f"{registry.shown_url}: {done.versions} versions, {done.stages} stages indexed; "
        f"{done.forgotten} forgotten that the store no longer holds"
    )


def publish(arguments: argparse.Namespace) -> None:
    """Publish every recorded execution, oldest first, and every study; faults of the study database are told last."""
    from ablab.runner.interrupted import end_runs, mark_in_store
    from ablab.runner.publisher import publish_execution
    from ablab.search.publisher import end_abandoned, publish_study
    from ablab.tracking import Tracker, model_name

    settings = load_settings()
    store = open_store(settings)
    mark_in_store(store)
    records = [record for record in read_executions(store.root) if not record.study]
    ablations = {record.ablation for record in records}
    studies, faults = _studies(settings, arguments.name, ablations)
    names = sorted({*ablations, *(one.study for one in studies)})
    if arguments.name is not None and arguments.name not in names:
        raise InputError(f"no run of {arguments.name!r} is in the store; {did_you_mean(arguments.name, names)}")
    chosen = [r for r in records if arguments.name in (None, r.ablation)]
    tracker = Tracker.of(settings)
    chosen_studies = [one for one in studies if arguments.name in (None, one.study)]
    models = {model_name(r.ablation, r.scale, arm): None for r in chosen for arm in r.roles}
    experiments = dict.fromkeys([*(r.ablation for r in chosen), *(one.experiment for one in chosen_studies)])
    tracker.check(*experiments, models=models)
    runs, trials = [], []

    def say(line: str) -> None:
        if not arguments.json:
            print(line, flush=True)

    for number, record in enumerate(chosen, start=1):
        published = publish_execution(tracker, store, record, settings)
        runs.append({"execution": record.id, "experiment": published.experiment_id, "run": published.run_id})
        say(
            f"{number}/{len(chosen)} {record.label} {record.scale} {record.id[:12]}: "
            f"experiment {published.experiment_id}, run {published.run_id}"
        )
    for one in chosen_studies:
        run_id = publish_study(tracker, one, settings, ended=not is_going_on(one, store, settings))
        trials.append({"study": one.name, "trials": len(one.outcome.rows), "run": run_id})
        say(f"study {one.name}: {len(one.outcome.rows)} trials, run {run_id}")
    if faults and tracker.in_use:
        end_runs(tracker, store)
    elif tracker.in_use:
        end_abandoned(tracker, store, settings)
    if not chosen and not chosen_studies:
        say("nothing to publish: no run is in the store")
    if arguments.json:
        print_json({"executions": runs, "studies": trials})
    if faults:
        raise InputError(faults)


def _studies(settings: Settings, name: str | None, ablations: set[str]) -> tuple[tuple[StoredStudy, ...], list[str]]:
    """The studies that a name (none: all) may mean, and why they are not known. An ablation needs none of them."""
    if name in ablations and not is_study(settings.project, name):
        return (), []
    try:
        return studies_in_store(settings), []
    except InputError as error:
        if name is not None:
            raise
        return (), list(error.faults)


def _record(pinned: versions.Pinned) -> VersionRecord:
    one = pinned.ablation
    return VersionRecord(name=one.name, version=one.version, digest=pinned.digest, spec=dump(one))


def _manifests(store: Store) -> list[dict[str, Any]]:
    """What the registry knows of every finished stage. Raises `InputError` with every manifest that is damaged."""
    found, faults = [], []
    for kind, key in store.finished():
        try:
            found.append(_indexed(kind, key, store.manifest(kind, key)))
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, OSError) as error:
            faults.append(
                f"{store.directory(kind, key) / MANIFEST} cannot be used: {type(error).__name__}: {error}; "
                "remove that folder: the stage is computed again when a run needs it"
            )
    if faults:
        raise InputError(faults)
    return found


def _indexed(kind: str, key: str, manifest: dict[str, Any]) -> dict[str, Any]:
    costs = manifest["costs"]
    finished = datetime.fromtimestamp(manifest["started"] + costs["seconds"], UTC)
    return {
        "key": key,
        "kind": kind,
        "seconds": costs["seconds"],
        "bytes": sum(entry["bytes"] for entry in manifest["files"].values()),
        "costs": costs,
        "finished_at": finished.isoformat(),
    }
