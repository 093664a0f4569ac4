"""`Tracker`: the one way into MLflow. It holds no truth: everything it writes can be written again from the store."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablab.errors import InputError
from ablab.settings import Settings, redact
from ablab.tracking.connection import (
    artifact_locations,
    check,
    connect,
    created_once,
    exclusive,
    failing_as_run_error,
    is_server,
)
from ablab.tracking.executions import StageRun, publish_runs
from ablab.tracking.lineage import inputs_first, link_stage
from ablab.tracking.live import LiveRun
from ablab.tracking.models import publish_model
from ablab.tracking.pages import PAGES_TAG, addresses, experiment_tags
from ablab.tracking.runs import STATUS
from ablab.tracking.stages import STAGES, find_stage, publish_stage
from ablab.tracking.studies import StudyView, publish_study
from ablab.tracking.views import ExecutionView, ModelView, StageView

LATEST_TAG = "ablab.latest"  # of an experiment: start and id of the execution that its description and view show


@dataclass(frozen=True)
class Published:
    """Where an execution lies in MLflow."""

    experiment_id: str
    run_id: str
    stages: dict[str, str]
    """Run id of every stage that was published with it, by key."""


class Tracker:
    """Publishes to the MLflow at `uri`. Publishing the same again changes nothing.

    Artifacts go to the server, or, when `uri` is a database, to folders under `artifacts` on this machine.
    Every method but `check` raises `RunError` when MLflow fails.
    """

    def __init__(self, uri: str, artifacts: Path) -> None:
        self.uri = uri
        self.artifacts = artifacts
        self._client: Any = None
        self._experiments: dict[str, str] = {}
        self._stages: dict[str, str] = {}  # run ids of what was published here, by key

    @classmethod
    def of(cls, settings: Settings) -> Tracker:
        """The tracker that the settings name."""
        return cls(settings.tracking_uri, settings.artifacts)

    def check(self, *ablations: str, models: Collection[str] = (), writing: bool = True) -> None:
        """Raises `InputError` when MLflow cannot be used for these ablations; to be called before work.

        models: registered models that will have versions. writing: a server is asked as well whether this user may
        write.
        """
        check(self.uri, (STAGES, *ablations) if writing else (), models)
        if not is_server(self.uri):
            if set("%?") & set(str(self.artifacts.absolute())):
                raise InputError(
                    f"MLflow would keep artifacts elsewhere than at {self.artifacts.absolute()}, because it holds "
                    "% or ?; set ABLAB_HOME to a folder without"
                )
            found = artifact_locations(self.uri, (STAGES, *ablations))
            faults = [self._misplaced(name, location) for name, location in found.items()]
            if any(faults):
                raise InputError(filter(None, faults))

    def publish_stage(self, view: StageView) -> str:
        """The run id of a finished stage in the experiment `ablab/stages`."""
        with self._using() as client:
            return self._publish_stage(client, view)

    def publish_live(self, run: LiveRun) -> None:
        """What a training that goes on has told since the last time, in its run in the experiment `ablab/stages`."""
        if not run.waiting:  # nor is MLflow imported while the training begins
            return
        with self._using() as client:
            run.send(client, self._experiment(STAGES))

    def leave_live(self, run: LiveRun) -> None:
        """A training that was shown while it went on has ended without a result."""
        if not run.shown:
            return
        with self._using() as client:
            run.leave(client, self._experiment(STAGES))

    @property
    def in_use(self) -> bool:
        """MLflow was asked for something through this tracker."""
        return self._client is not None

    def end_abandoned(self, experiments: Collection[str], abandoned: Callable[[Mapping[str, str]], bool]) -> None:
        """Show as killed the runs that are said to go on and of which, by their tags, nobody will tell any more."""
        with self._using() as client:
            there = filter(None, map(client.get_experiment_by_name, experiments))
            ids = [experiment.experiment_id for experiment in there]
            running = client.search_runs(ids, "attributes.status = 'RUNNING'", max_results=50_000) if ids else []
            for run in running:
                if abandoned(run.data.tags):
                    client.set_terminated(run.info.run_id, STATUS["interrupted"])

    def publish_model(self, train: StageView, step: int, tokenizer: Path, name: str, alias: str) -> str:
        """The id of the logged model of a training's checkpoint, registered as `models:/<name>@<alias>`."""
        with self._using() as client:
            experiment_id = self._experiment(STAGES)
            run_id = self._publish_stage(client, train)
            return publish_model(
                client, experiment_id, run_id, train, ModelView(train.key, step, tokenizer, name, alias)
            )

    def publish_execution(self, view: ExecutionView) -> Published:
        """An execution with its stages and models. Every arm's `model.train` must be one of `view.stages`."""
        with self._using() as client:
            stages = {stage.key: self._publish_stage(client, stage) for stage in inputs_first(view.stages)}
            linked = stages | self._known_stages(client, view, stages)
            runs = {key: StageRun(self._experiment(STAGES), run_id) for key, run_id in linked.items()}
            models = self._publish_models(client, view, stages)
            experiment_id = self._experiment(view.ablation)
            run_id = publish_runs(client, experiment_id, view, runs, models)
            self._describe(client, experiment_id, run_id, view)
            return Published(experiment_id, run_id, stages)

    def publish_study(self, view: StudyView) -> str:
        """The run id of a study, with its trials."""
        with self._using() as client:
            return publish_study(client, self._experiment(view.experiment), view)

    def pages(self, base: str) -> dict[str, dict[str, str]]:
        """What was prepared for every published ablation on a server at `base`: addresses by title, by experiment."""
        with self._using() as client:
            found = sorted(client.search_experiments(), key=lambda experiment: str(experiment.name))
            return {str(e.name): addresses(e.tags[PAGES_TAG], base) for e in found if PAGES_TAG in e.tags}

    def _publish_stage(self, client: Any, view: StageView) -> str:
        experiment_id = self._experiment(STAGES)
        self._stages[view.key] = run_id = publish_stage(client, experiment_id, view)
        link_stage(client, experiment_id, view, self._stages)
        return run_id

    def _known_stages(self, client: Any, view: ExecutionView, published: Container[str]) -> dict[str, str]:
        """Runs of stages that the arms name and that were published before."""
        named = dict.fromkeys(key for arm in view.arms for key in arm.stages.values())
        found = {key: find_stage(client, self._experiment(STAGES), key) for key in named if key not in published}
        return {key: str(run.info.run_id) for key, run in found.items() if run is not None}

    def _publish_models(self, client: Any, view: ExecutionView, runs: dict[str, str]) -> dict[tuple[str, int], str]:
        trainings = {stage.key: stage for stage in view.stages}
        return {
            (arm.model.train, arm.model.step): publish_model(
                client, self._experiment(STAGES), runs[arm.model.train], trainings[arm.model.train], arm.model
            )
            for arm in view.arms
            if arm.model
        }

    def _describe(self, client: Any, experiment_id: str, run_id: str, view: ExecutionView) -> None:
        """The experiment's description and prepared views show the execution that began last."""
        tags = client.get_experiment(experiment_id).tags
        mark = f"{view.started_ms:015d} {view.id}"
        if mark < tags.get(LATEST_TAG, ""):
            return
        for name, value in {**experiment_tags(view, experiment_id, run_id), LATEST_TAG: mark}.items():
            if tags.get(name) != value:
                client.set_experiment_tag(experiment_id, name, value)

    @contextmanager
    def _using(self) -> Iterator[Any]:
        """The client, alone on an SQLite database, with failures told as `RunError`."""
        with failing_as_run_error(self.uri), exclusive(self.uri):
            if self._client is None:
                self._client = connect(self.uri)
            yield self._client

    def _experiment(self, name: str) -> str:
        """Id of the experiment, made or brought back from the bin if need be."""
        if name in self._experiments:
            return self._experiments[name]
        location = None if is_server(self.uri) else self._location(name)
        created_once(lambda: self._client.create_experiment(name, artifact_location=location))
        experiment = self._client.get_experiment_by_name(name)
        if location and (fault := self._misplaced(name, experiment.artifact_location)):
            raise InputError(fault)
        self._experiments[name] = str(experiment.experiment_id)
        if experiment.lifecycle_stage == "deleted":
            self._client.restore_experiment(self._experiments[name])
        return self._experiments[name]

    def _location(self, name: str) -> str:
        """Where the artifacts of an experiment belong while a database is used: it holds absolute addresses."""
        return (self.artifacts.absolute() / name.replace("/", "-")).as_uri()

    def _misplaced(self, name: str, location: str) -> str | None:
        """What is wrong with the place at which a database keeps the artifacts of an experiment."""
        if location == self._location(name):
            return None
        return (
            f"the MLflow database {redact(self.uri)} keeps the artifacts of {name} at {redact(location)}, "
            f"but they belong at {self._location(name)} "
            "(was the folder moved or copied, or the experiment made through a server?); "
            "delete the database: `ablab publish` rebuilds it"
        )
