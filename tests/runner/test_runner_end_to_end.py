"""The main path at scale `tiny`: from nothing to a comparison, shared, repeated, damaged, out of space."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_helper import (
    NAME,
    ROOT,
    ablab,
    command,
    environment,
    plan_stages,
    run_tiny,
    stage_bytes,
)

from ablab.store import Store


@pytest.fixture
def home(finished_home: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be changed. MLflow's database holds absolute paths and stays behind."""
    return shutil.copytree(finished_home, tmp_path / "home", ignore=shutil.ignore_patterns("mlflow.db*", "mlartifacts"))


def test_a_run_leaves_every_stage_its_tables_and_its_verdicts(finished_home: Path) -> None:
    folder = next((finished_home / "results").glob("*/tiny-*"))
    comparison = json.loads((folder / "comparison.json").read_text())
    assert comparison["arms"] == ["real-only", "ancestral", "masked-only", "contrastive"]
    assert {claim["verdict"] for claim in comparison["claims"]} <= {"supported", "contradicted", "inconclusive"}
    assert comparison["missing"] == []
    names = {path.name for path in folder.iterdir()}
    assert {"comparison.json", "scores.csv", "effects.csv", "claims.csv", "effects.png", "plan.json"} <= names


def test_a_second_run_computes_nothing(finished_home: Path, home: Path) -> None:
    assert all(stage["state"] == "cached" for stage in plan_stages(home))
    done = run_tiny(home)
    assert done.returncode == 0, done.stderr
    assert "0 of 52 stages to compute" in done.stdout
    assert stage_bytes(home) == stage_bytes(finished_home)


def test_every_finished_stage_is_intact_and_says_what_it_is(finished_home: Path) -> None:
    store = Store(finished_home / "store")
    planned = {(stage["kind"], stage["key"]) for stage in plan_stages(finished_home)}
    assert set(store.finished()) == planned
    for kind, key in planned:
        assert store.faults(kind, key) == []
        assert store.manifest(kind, key)["numerics"]["threads"] >= 1


def test_a_damaged_input_is_noticed_set_aside_and_computed_again(finished_home: Path, home: Path) -> None:
    stages = plan_stages(home)
    training = next(s for s in stages if s["kind"] == "train" and s["uses"][0]["arm"] == "contrastive")
    model = next((home / "store" / "train" / training["key"]).glob("checkpoints/*/model.safetensors"))
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    for stage in stages:
        if stage["kind"] == "evaluate" and stage["uses"][0]["arm"] == "contrastive":
            shutil.rmtree(home / "store" / "evaluate" / stage["key"])
    done = run_tiny(home)
    assert done.returncode == 0, done.stderr
    assert "is damaged" in done.stdout
    assert stage_bytes(home) == stage_bytes(finished_home)
    assert list((home / "store" / ".damaged").glob("train-*"))


def test_a_removed_training_that_nothing_needs_is_not_computed_again(home: Path) -> None:
    training = next(s for s in plan_stages(home) if s["kind"] == "train" and s["uses"][0]["arm"] == "contrastive")
    shutil.rmtree(home / "store" / "train" / training["key"])
    again = {stage["key"]: stage["state"] for stage in plan_stages(home)}
    assert again.pop(training["key"]) == "unneeded"
    assert set(again.values()) == {"cached"}


def test_two_runs_at_one_time_share_the_work(finished_home: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    runs = [
        subprocess.Popen(
            command("run-ablation", NAME, "--scale", "tiny", "--jobs", "1"),
            env=environment(home),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=600)[0] for process in runs]
    assert [process.returncode for process in runs] == [0, 0], outputs
    assert stage_bytes(home) == stage_bytes(finished_home)
    stages = json.loads(ablab(home, "status", "--json").stdout)
    assert [row["status"] for row in stages] == ["finished", "finished"]
    assert not list((home / "store" / ".attempts").glob("*")), "no stage was computed twice and thrown away"


def test_without_space_the_run_fails_cleanly_and_resumes(finished_home: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))

    full = subprocess.run(
        command("run-ablation", NAME, "--scale", "tiny"),
        env=environment(home),
        capture_output=True,
        text=True,
        preexec_fn=limit,
        timeout=600,
        check=False,
    )
    assert full.returncode == 1, full.stdout + full.stderr
    assert "the same command" in full.stderr
    assert run_tiny(home).returncode == 0
    assert stage_bytes(home) == stage_bytes(finished_home)


def test_publish_rebuilds_a_lost_mlflow_and_reindex_a_lost_registry(home: Path) -> None:
    (home / "registry.db").unlink()
    published = ablab(home, "publish")
    assert published.returncode == 0, published.stderr
    reindexed = ablab(home, "reindex")
    assert "52 stages indexed" in reindexed.stdout, reindexed.stderr
    assert ablab(home, "publish", NAME).returncode == 0


def test_compare_and_status_tell_what_the_run_told(home: Path) -> None:
    compared = ablab(home, "compare", NAME, "--scale", "tiny", "--json")
    folder = next((home / "results").glob("*/tiny-*"))
    told = json.loads(compared.stdout)
    assert told["comparison"] == json.loads((folder / "comparison.json").read_text())
    assert [row["arm"] for row in told["corpora"]] == ["ancestral", "masked-only", "contrastive"]
    assert all(0.0 <= row["true_statements"] <= 1.0 and row["corpora"] == 2 for row in told["corpora"])
    assert [(one["arms"], one["others"]) for one in told["apart"]] == [
        (["ancestral"], ["masked-only"]),
        (["ancestral"], ["contrastive"]),
        (["masked-only"], ["contrastive"]),
    ]
    assert all(0.01 < one["total_variation"] < 1.0 for one in told["apart"])
    rows = json.loads(ablab(home, "status", "--json").stdout)
    assert rows[0]["stages"] == "52/52"
    assert rows[0]["status"] == "finished"
    stages = json.loads(ablab(home, "status", rows[0]["execution"], "--json").stdout)
    assert {stage["state"] for stage in stages} == {"complete"}


def test_diff_shows_identity_and_numerics_of_two_runs(home: Path) -> None:
    again = run_tiny(home, "--numerics", "micro_batch=2")
    assert again.returncode == 0, again.stderr
    one, other = (row["execution"] for row in json.loads(ablab(home, "status", "--json").stdout))
    found = json.loads(ablab(home, "diff", one, other, "--json").stdout)
    assert found["identity"] == {}
    assert found["numerics"] == {"micro_batch": [32, 2]}


def test_the_python_interface_returns_the_comparison(home: Path) -> None:
    code = (
        "import ablab, json; result = ablab.run('contrastive-vs-masked', scale='tiny');"
        "print(json.dumps([result.computed, result.needed, result.comparison.control]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(home), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert json.loads(done.stdout) == [0, 52, "real-only"], done.stderr
