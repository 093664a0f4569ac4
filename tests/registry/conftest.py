"""A real PostgreSQL server from Debian's programs, and a registry of each kind."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest
from sqlalchemy import NullPool, create_engine, text

from ablab.registry.registry import Registry, open_registry

USER = "ablab"


@dataclass(frozen=True)
class PostgresServer:
    """Listens on a socket in its own folder only, which belongs to the user that it runs as."""

    programs: Path
    folder: Path
    account: Mapping[str, Any]
    """Arguments of `subprocess.run` that change the user: the server refuses to run as root."""

    def url(self, database: str) -> str:
        return f"postgresql://{USER}@/{database}?host={self.folder}"

    def start(self) -> None:
        options = f"-c listen_addresses= -c unix_socket_directories={self.folder} -c fsync=off"
        self._run("pg_ctl", "start", "-w", "-D", self.data, "-l", str(self.folder / "log"), "-o", options)

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "-w", "-m", "fast", "-D", self.data)

    def initialise(self) -> None:
        self._run("initdb", "-D", self.data, "-U", USER, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")

    @property
    def data(self) -> str:
        return str(self.folder / "data")

    def _run(self, program: str, *arguments: str) -> None:
        # output to a file: the server would keep a pipe open
        with (self.folder / f"{program}.out").open("wb") as output:
            command = [str(self.programs / program), *arguments]
            done = subprocess.run(command, stdout=output, stderr=output, cwd=self.folder, timeout=90, **self.account)
        assert done.returncode == 0, (self.folder / f"{program}.out").read_text()


@pytest.fixture(scope="session")
def postgres_server(require: Callable[[str, str], NoReturn]) -> Iterator[PostgresServer]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda path: int(path.parts[-3]))
    if not found:
        require("postgres", "the server programs are not under /usr/lib/postgresql")
    account: dict[str, Any] = {}
    if os.geteuid() == 0:
        account = {"user": "postgres", "group": "postgres", "extra_groups": []}
    # short (a socket's path has at most 107 bytes) and reachable for that user, which pytest's folders are not
    folder = Path(tempfile.mkdtemp(prefix="ablab-postgres-", dir="/tmp"))
    server = PostgresServer(found[-1].parent, folder, account)
    try:
        if account:
            shutil.chown(folder, account["user"], account["group"])
        server.initialise()
        server.start()
        yield server
    finally:
        if (folder / "data" / "postmaster.pid").exists():
            server.stop()
        shutil.rmtree(folder)


@pytest.fixture
def postgres_url(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[str]:
    """An empty database of its own."""
    name = f"test_{tmp_path.name}".lower()[:60]
    admin = create_engine(
        postgres_server.url("postgres").replace("postgresql:", "postgresql+psycopg:"),
        isolation_level="AUTOCOMMIT",
        poolclass=NullPool,
    )
    with admin.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}" TEMPLATE template0'))
    yield postgres_server.url(name)
    with admin.connect() as connection:
        connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
    admin.dispose()


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
