"""Arms that draw from one distribution end a run before any of their corpora is begun."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from tiny_helper import ROOT, command, environment

from ablab.registry.registry import open_registry

DECLARATION = """
from ablab.spec import Ablation, Arm, Design
from experiments.arms import TINY, mixture

WARM = TINY.ancestral()
WARM["decoding"]["temperature"] = 1.25
ABLATION = Ablation(
    name="truncations",
    version=1,
    question="Does it matter where the tail is cut?",
    designs={{
        "tiny": Design(
            control="real-only",
            recipe=TINY.recipe,
            arms=(
                mixture("warm", WARM),
                Arm(name="cut", of="warm", edits={{"synthetic.decoding.top_k": {top_k}}}),
                Arm(name="half", of="warm", edits={{"mixture.share": 0.5}}),
            ),
            replicates=TINY.pairs()[:1],
            claims=(),
        )
    }},
)
"""


def run(folder: Path, home: Path, top_k: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "ablations").mkdir(parents=True, exist_ok=True)
    shutil.copytree(ROOT / "experiments", folder / "experiments", dirs_exist_ok=True)
    (folder / "ablations/truncations.py").write_text(DECLARATION.format(top_k=top_k))
    return subprocess.run(
        command("run-ablation", "truncations", "--scale", "tiny", "--jobs", "1", *arguments),
        env=environment(home, ABLAB_PROJECT=str(folder), OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_arms_of_one_distribution_fail_before_a_corpus_is_begun_and_say_what_to_do(
    finished_home: Path, tmp_path: Path
) -> None:
    """Of 384 words two are never drawn, so the best 382 are all. GOOD is in the store."""
    home = shutil.copytree(finished_home, tmp_path / "home", ignore=shutil.ignore_patterns("mlflow.db*", "mlartifacts"))
    before = {path.name for path in (home / "store/generate").iterdir()}
    done = run(tmp_path / "project", home, 382)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "synthetic.decoding.top_k=382 and null: total variation 0.0e+00" in done.stderr.replace(
        "null and 382", "382 and null"
    )
    assert "declare values that have an effect, or leave one of the arms out" in done.stderr
    assert "not begun without it: generate · shared, generate · cut r1" in done.stderr
    assert {path.name for path in (home / "store/generate").iterdir()} == before
    plan = json.loads(run(tmp_path / "project", home, 382, "--plan", "--json").stdout)["stages"]
    tried = [stage["key"] for stage in plan]
    with open_registry(f"sqlite:///{home / 'registry.db'}") as registry:
        kinds = [one.kind for one in registry.stage_records(tried).values() if one.state == "failed"]
    assert kinds == ["manipulation"], "nothing that came after it was tried"
    (check,) = (stage for stage in plan if stage["kind"] == "manipulation")
    assert [stage["after"] for stage in plan if stage["kind"] == "generate"] == [[check["key"]]] * 2
