"""Real studies at scale tiny: two workers at once, a repeated command, failures, and what is left for people."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from study_helper import PERPLEXITY, RATES, REASONING, finish, start_study, study_project
from tiny_helper import ablab, environment


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """A study of two objectives whose space holds two points, searched by two workers at once, and once more."""
    folder = study_project(tmp_path_factory.mktemp("study"), RATES, f"{PERPLEXITY}, {REASONING}")
    ended = [finish(process) for process in [start_study(folder, "--json"), start_study(folder, "--json")]]
    ended.append(finish(start_study(folder, "--json")))
    assert [code for code, _, _ in ended] == [0, 0, 0], ended
    return folder, [json.loads(output) for _, output, _ in ended]


def test_two_workers_and_a_repeated_command_tell_the_same(searched: tuple[Path, list[dict[str, Any]]]) -> None:
    _, told = searched
    parts = [{name: one[name] for name in ("best", "winners", "base")} for one in told]
    assert parts[0] == parts[1] == parts[2]
    judged = told[0]["winners"][0]["judged"]
    assert [one["metric"] for one in judged] == ["perplexity", "reasoning"]
    assert all(one["low"] <= one["value"] <= one["high"] and len(one["fresh"]) == 2 for one in judged)


def test_equal_points_are_recognised_and_cost_nothing(searched: tuple[Path, list[dict[str, Any]]]) -> None:
    """The space holds two points, so it is searched before the budget of three trials is used."""
    _, told = searched
    rows = told[-1]["rows"]
    originals = [row for row in rows if row["duplicate_of"] is None]
    assert len({row["identity"] for row in originals if row["state"] == "complete"}) == 2
    copies = [row for row in rows if row["duplicate_of"] is not None]
    by_number = {row["number"]: row for row in rows}
    assert copies and all(row["values"] == by_number[row["duplicate_of"]]["values"] for row in copies)
    assert any("the space is searched" in note for note in told[-1]["notes"])


def test_every_stage_was_computed_once_and_every_trial_is_recorded(
    searched: tuple[Path, list[dict[str, Any]]],
) -> None:
    folder, told = searched
    store = folder / "home/store"
    assert not list((store / ".attempts").glob("*"))
    records = [json.loads(path.read_text()) for path in (store / "executions").glob("*.json")]
    assert {record["study"] for record in records} == {"rates"}
    recorded = {record["id"] for record in records}
    assert {one for row in told[-1]["rows"] for one in row["executions"]} <= recorded
    assert {record["status"] for record in records} == {"finished"}
    of_trials = [record["roles"] for record in records if " trial " in record["label"]]
    stages = {tuple(s) for arms in of_trials for one in arms.values() for roles in one for s in roles.values()}
    assert sum(row["computed"] for row in told[-1]["rows"]) == len(stages)


def test_mlflow_has_the_study_its_trials_and_its_figures(searched: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, told = searched
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{folder / 'home/mlflow.db'}")
    experiment = client.get_experiment_by_name("study/rates")
    runs = client.search_runs([experiment.experiment_id], max_results=1_000)
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    trials = {run.data.tags["ablab.trial"]: run for run in runs if run is not parent}
    assert len(trials) == len(told[-1]["rows"]) == len(runs) - 1
    for row in told[-1]["rows"]:
        run = trials[str(row["number"])]
        assert float(run.data.params["schedule.learning_rate"]) == row["edits"]["schedule.learning_rate"]
        assert run.data.metrics["perplexity"] == pytest.approx(row["values"][0])
        steps = client.get_metric_history(run.info.run_id, "replicate/perplexity")
        assert [(point.step, point.value) for point in steps] == [(0, pytest.approx(row["replicates"][0][0]))]
    files = {item.path for item in client.list_artifacts(parent.info.run_id, "figures")}
    assert {"figures/pareto.png", "figures/history-perplexity.png", "figures/slice-reasoning.png"} <= files
    assert "searched" in parent.data.tags["mlflow.note.content"].splitlines()[0]


def test_a_lost_mlflow_is_rebuilt_from_the_trials(searched: tuple[Path, list[dict[str, Any]]], tmp_path: Path) -> None:
    folder, _ = searched
    home = shutil.copytree(folder / "home", tmp_path / "home")
    (home / "mlflow.db").unlink()
    shutil.rmtree(home / "mlartifacts")
    shutil.rmtree(home / "results")
    published = ablab(home, "publish", "rates", ABLAB_PROJECT=str(folder))
    assert published.returncode == 0, published.stderr
    assert "study rates@1 tiny: " in published.stdout
    before, after = (shown_in_mlflow(one) for one in (folder / "home", home))
    assert before == after


def shown_in_mlflow(home: Path) -> dict[str, Any]:
    """What MLflow shows of the study: runs by trial, without ids and times, and the files of the whole."""
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("study/rates")
    runs = client.search_runs([experiment.experiment_id], max_results=1_000)
    own = ("ablab.digest", "mlflow.parentRunId", "mlflow.user")
    shown = {
        run.data.tags.get("ablab.trial", "study"): [
            run.info.status,
            run.data.params,
            run.data.metrics,
            {name: value for name, value in run.data.tags.items() if name not in own},
        ]
        for run in runs
    }
    (parent,) = [run for run in runs if "ablab.trial" not in run.data.tags]
    return shown | {"files": sorted(item.path for item in client.list_artifacts(parent.info.run_id, "figures"))}


def test_list_show_and_status_know_the_study(searched: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, told = searched
    around = {"ABLAB_PROJECT": str(folder)}
    listed = json.loads(ablab(folder / "home", "list", "--json", **around).stdout)
    (row,) = listed["studies"]
    (begun,) = row["begun"]
    assert (row["name"], row["version"], row["pinned"], begun["label"]) == ("rates", 1, [], "rates@1")
    assert begun["trials"] == 2 and begun["judged"] and begun["running"] == []
    assert [one["trial"] for one in begun["best"]] == told[-1]["best"]
    shown = json.loads(ablab(folder / "home", "show", "rates", "--scale", "tiny", "--json", **around).stdout)
    assert shown["outcome"] == told[-1]
    assert list(shown["design"]["space"]) == ["schedule.learning_rate"]
    rows = json.loads(ablab(folder / "home", "status", "rates", "--json", **around).stdout)
    assert [one["state"] for one in rows] == [one["state"] for one in told[-1]["rows"]]
    assert [[*one["values"].values()] for one in rows] == [one["values"] or [] for one in told[-1]["rows"]]
    assert [one["seconds"] for one in rows] == [one["seconds"] for one in told[-1]["rows"]]
    text = ablab(folder / "home", "list", **around).stdout
    assert "rates@1 tiny: 2, trial" in text
    text = ablab(folder / "home", "show", "rates", "--scale", "tiny", **around).stdout
    assert "one of 0.005, 0.002" in text and "fresh replicates" in text


class Server(BaseHTTPRequestHandler):
    """Answers as an MLflow without experiments does."""

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(b"{}")

    do_GET = do_POST = answer

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing is shown."""


def test_a_tracking_server_that_dies_stops_no_study(
    searched: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    folder, told = searched
    again = study_project(tmp_path, RATES, f"{PERPLEXITY}, {REASONING}")
    shutil.copytree(folder / "home/store", again / "home/store")
    with HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        process = start_study(again, MLFLOW_TRACKING_URI=url, MLFLOW_HTTP_REQUEST_MAX_RETRIES="0")
        assert process.stdout is not None
        lines = []
        while not lines or not lines[-1].startswith("trial 0:"):
            lines.append(process.stdout.readline())
            assert lines[-1], "".join(lines)
        server.shutdown()
    code, output, errors = finish(process)
    assert code == 1, output + errors
    assert "On 2 fresh replicates" in output
    assert "the study has ended and its results are stored, but MLflow does not show them" in errors
    assert "ablab publish" in errors
    stored = json.loads(next((again / "home/results").rglob("outcome.json")).read_text())
    assert [one["judged"] for one in stored["winners"]] == [one["judged"] for one in told[0]["winners"]]


def test_failed_trials_are_recorded_with_their_cause_and_end_the_search_after_a_number_in_a_row(tmp_path: Path) -> None:
    """Of the widths only the ends are sound, which alone are looked at before the search."""
    space = '{"model.hidden": Integer(low=48, high=96)}'
    folder = study_project(tmp_path, space, PERPLEXITY, edits='"model.heads": 12, "model.hidden": 24')
    code, output, errors = finish(start_study(folder))
    assert code == 1, output + errors
    assert "2 trials in a row failed" in errors
    assert "model.hidden" in errors and "must be a multiple of model.heads=12" in errors
    assert "the same command again" in errors
    assert not (folder / "home/store/train").exists()


def test_a_plan_imports_no_heavy_library_and_makes_nothing(tmp_path: Path) -> None:
    folder = study_project(tmp_path, RATES, PERPLEXITY)
    code = (
        "import sys; from ablab.cli import run_study; sys.argv[1:] = ['rates', '--scale', 'tiny', '--plan', '--json']\n"
        "try: run_study.main()\n"
        "except SystemExit as ended: print('loaded', ended.code, [n for n in "
        "('torch', 'transformers', 'datasets', 'mlflow', 'deepspeed', 'lm_eval', 'optuna') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(folder / "home", ABLAB_PROJECT=str(folder)),
        capture_output=True,
        text=True,
        check=True,
    )
    plan, _, loaded = done.stdout.rpartition("loaded ")
    assert loaded.strip() == "0 []", done.stderr
    assert json.loads(plan)["trials"] == 3
    assert not (folder / "home/studies.db").exists() and not (folder / "home/mlflow.db").exists()
