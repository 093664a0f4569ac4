"""DeepSpeed's launcher, really run: one machine of two slots, and two machines behind a pdsh that stays here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from process_helper import wait_until

from ablab.errors import InputError, RunError
from ablab.spec.hostfile import is_here, parse_hostfile
from ablab.spec.placement import Numerics
from ablab.store.context import StageContext
from ablab.tracking.services import free_port
from ablab.train.stage import train

MakeContext = Callable[..., StageContext]
Require = Callable[[str, str], NoReturn]
Trained = tuple[StageContext, dict[str, Any]]
TWO = Numerics(ranks=2, threads=2)

PDSH = """#!{python}
# pdsh -S -f N -w HOSTS COMMAND...: COMMAND once per host, %n for the number of the host, all at once
import subprocess, sys
hosts = sys.argv[sys.argv.index("-w") + 1].split(",")
command = " ".join(sys.argv[sys.argv.index("-w") + 2:])
started = [subprocess.Popen(["sh", "-c", command.replace("%n", str(number))]) for number in range(len(hosts))]
sys.exit(max(process.wait() for process in started))
"""


@pytest.fixture
def hostfile(tmp_path: Path) -> Path:
    path = tmp_path / "hostfile"
    path.write_text("# one machine\nlocalhost slots=2\n")
    return path


def on(hosts: Path, ctx: StageContext) -> StageContext:
    return StageContext(**{**vars(ctx), "hostfile": hosts})


def losses(ctx: StageContext) -> list[float]:
    return [json.loads(line)["train_loss_nats"] for line in (ctx.out / "curves.jsonl").read_text().splitlines()]


@pytest.fixture(params=["without ssh", "by ssh"])
def _other_machines(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, require: Require
) -> Iterator[None]:
    """pdsh: one that stays here, or the real one by real ssh to a server of this test."""
    with ExitStack() as opened:
        if request.param == "by ssh":
            options = opened.enter_context(ssh_server(tmp_path, require))
            monkeypatch.setenv("PDSH_SSH_ARGS_APPEND", options)
        else:
            programs = tmp_path / "programs"
            programs.mkdir()
            (programs / "pdsh").write_text(PDSH.format(python=sys.executable))
            (programs / "pdsh").chmod(0o755)
            monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
        yield


@contextmanager
def ssh_server(folder: Path, require: Require) -> Iterator[str]:
    """Options of ssh with which this machine lets this user in."""
    found = {name: shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") for name in ("pdsh", "ssh", "sshd")}
    if lacking := [name for name, program in found.items() if program is None]:
        require("ssh", f"{' and '.join(lacking)} is not installed")
    port, log = free_port(), folder / "sshd.log"
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\n"
        "PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
    )
    options = f"-p {port} -i {folder}/user -o BatchMode=yes -o StrictHostKeyChecking=no"
    options += f" -o UserKnownHostsFile={folder}/known -o LogLevel=ERROR"
    with subprocess.Popen([str(found["sshd"]), "-D", "-f", folder / "sshd_config", "-E", log]) as server:
        try:
            wait_until(lambda: server.poll() is not None or (log.exists() and "listening" in log.read_text()))
            if server.poll() is not None or subprocess.run(["ssh", *options.split(), "127.0.0.1", "true"]).returncode:
                require("ssh", f"sshd lets nobody in: {log.read_text()}")
            yield options
        finally:
            server.terminate()


@pytest.mark.usefixtures("_other_machines")
def test_two_machines_train_as_one_process(
    make_context: MakeContext, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The launcher's own way to several machines: both are this one under two names."""
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hidden")
    hosts = tmp_path / "hostfile"
    hosts.write_text("localhost slots=1\n127.0.0.1 slots=1\n")
    told: list[tuple[Any, ...]] = []
    ctx = make_context("machines", numerics=TWO)
    ctx = on(hosts, StageContext(**{**vars(ctx), "progress": lambda *report: told.append(report)}))
    result = train(ctx)
    assert losses(ctx) == pytest.approx(losses(trained[0]), abs=1e-4)
    assert [one["step"] for one in result["checkpoints"]] == [3, 6, 9, 12]
    assert told[-1][:2] == (12, 12)
    assert ctx.costs["tokens"] == trained[0].costs["tokens"]
    assert ctx.record["deepspeed"]["train_micro_batch_size_per_gpu"] == 2


@pytest.mark.parametrize("stopped", [True, False])
def test_a_rank_ends_when_its_parent_stops_it_or_is_gone(stopped: bool) -> None:
    """Whatever becomes of the launcher between them."""
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
    places = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "RANK": "0", "WORLD_SIZE": "2"}
    environment = os.environ | {"OMP_NUM_THREADS": "1", "LOCAL_RANK": "0"} | places
    with subprocess.Popen([sys.executable, "-m", "ablab.train.rank"], env=environment) as rank:
        while not store.add("pulse/0", 0):  # it waits for a task that never comes
            assert rank.poll() is None
            time.sleep(0.05)
        if stopped:
            store.set("stop", "")
        else:
            del store
        assert rank.wait(60) == 1


def test_what_ends_the_launcher_without_a_result_is_an_error(
    make_context: MakeContext, hostfile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it says that all went well, as DeepSpeed's does where it was killed."""
    for code in (0, 3):
        command = [sys.executable, "-c", f"raise SystemExit({code})"]
        monkeypatch.setattr("ablab.train.hosts._command", lambda *_, command=command: command)
        with pytest.raises(RunError, match=f"launcher ended without a result: exit status {code}"):
            train(on(hostfile, make_context("lost", numerics=TWO)))


def test_slots_and_ranks_are_one_number(make_context: MakeContext, hostfile: Path) -> None:
    with pytest.raises(InputError, match=r"has 2 slots, but numerics.ranks=4; use ranks=2"):
        train(on(hostfile, make_context(numerics=Numerics(ranks=4))))


def test_other_machines_need_pdsh(make_context: MakeContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    hosts = tmp_path / "hostfile"
    hosts.write_text("node1 slots=2\n")
    with pytest.raises(InputError, match="apt-get install pdsh"):
        train(on(hosts, make_context(numerics=TWO)))


def test_a_hostfile_with_invalid_lines_names_each() -> None:
    with pytest.raises(InputError) as caught:
        parse_hostfile("node1\nnode2 slots=2\nnode2 slots=3\n\n# a comment\nnode3 slots=0\n", "hosts")
    assert [fault.partition(":")[0] for fault in caught.value.faults] == [
        "hosts, line 1",
        "hosts, line 3",
        "hosts, line 6",
    ]
    with pytest.raises(InputError, match="names no machine"):
        parse_hostfile("# nothing\n", "hosts")


def test_only_this_machine_alone_is_here() -> None:
    assert is_here({"localhost": 8})
    assert not is_here({"node1": 8})
    assert not is_here({"localhost": 1, "127.0.0.1": 1})
