"""A registry of each kind, and projects with declarations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from postgres_helper import postgres_server, postgres_url  # noqa: F401 (fixtures)

from ablab.registry.registry import Registry, open_registry


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a registry that does not exist yet, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'home' / 'registry.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def registry(url: str) -> Iterator[Registry]:
    with open_registry(url) as opened:
        yield opened


SCALES = """
from ablab.spec import (
    Corpus, Evaluation, Good, LastStep, MicroworldSource, MicroworldSuites, Mixture, Model, Recipe, Schedule, Tokenizer
)

STEPS = 20


def tiny():
    return Recipe(
        corpus=Corpus(
            sources=(MicroworldSource(world_seed=1, words=9_000, validation_words=900, test_words=900),),
            seed_share=0.05, split_seed=1, word_budget=None,
        ),
        tokenizer=Tokenizer(vocab_size=384),
        model=Model(layers=2, hidden=32, heads=2, ffn=64, context=64),
        schedule=Schedule(
            steps=STEPS, tokens_per_step=256, learning_rate=5e-3, warmup_steps=2, weight_decay=0.1,
            checkpoint_every=5, validation_tokens=1_024,
        ),
        precision="fp32",
        good=Good(train_seed=42, selection=LastStep()),
        synthetic=None,
        mixture=Mixture(share=0.0),
        evaluation=Evaluation(
            suites=(MicroworldSuites(world_seed=1, items_per_task=8, names=("minimal_pairs",)),),
            selection=LastStep(), test_tokens=1_024,
        ),
    )
"""

DECLARATION = """
from ablab.spec import Ablation, Arm, Claim, Design, Replicate
from experiments.scales import tiny

ABLATION = Ablation(
    name={name!r},
    version={version},
    question="Does the learning rate matter?",
    designs={{
        "tiny": Design(
            control="usual",
            recipe=tiny(),
            arms=(Arm(name="faster", edits={{"schedule.learning_rate": {rate}}}),),
            replicates=(Replicate(train_seed=1, generation_seed=1),),
            claims=(
                Claim(
                    id="faster-helps", statement="A higher rate helps", factor={factor!r},
                    metric="linguistic", arm="faster", against="usual", direction="greater", margin=0.0,
                ),
            ),
        )
    }},
)
"""


@dataclass(frozen=True)
class Project:
    """A folder with `experiments/scales.py` and whatever the test declares."""

    root: Path

    def declare(
        self, name: str, version: int = 1, rate: float = 0.01, factor: str = "schedule.learning_rate", file: str = ""
    ) -> Path:
        """Write a declaration; its file is named after it unless `file` says otherwise."""
        text = DECLARATION.format(name=name, version=version, rate=rate, factor=factor)
        return self.write(f"ablations/{file or name.replace('-', '_') + '.py'}", text)

    def write(self, path: str, text: str) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        return target


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project")


@pytest.fixture
def other_project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "other")


def make_project(root: Path) -> Project:
    made = Project(root)
    made.write("experiments/__init__.py", "")
    made.write("experiments/scales.py", SCALES)
    (root / "ablations").mkdir()
    return made
