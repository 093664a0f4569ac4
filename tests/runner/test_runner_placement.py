"""How a run is placed: numerics that are given, machines of a hostfile, devices that must be there."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from ablab.errors import InputError
from ablab.runner import machine
from ablab.runner.machine import check_machine, default_placement
from ablab.spec.placement import Numerics, Placement
from ablab.store import Store


def test_settings_for_deepspeed_are_given_as_json_or_as_a_file_of_it(tmp_path: Path) -> None:
    added = {"zero_optimization": {"overlap_comm": False}}
    file = tmp_path / "deepspeed.json"
    file.write_text(json.dumps(added))
    for given in (added, str(file)):
        assert default_placement(1, {"deepspeed": given}).numerics.deepspeed == added
    for wrong in ("absent.json", "broken.json"):
        (tmp_path / "broken.json").write_text("{")
        with pytest.raises(InputError, match=f"{wrong}: not a file of JSON"):
            default_placement(1, {"deepspeed": str(tmp_path / wrong)})


@pytest.mark.parametrize(
    ("visible", "count"), [(None, 2), ("", 0), ("-1", 0), ("1", 1), ("0,1", 2), ("1,-1,0", 1), ("0,1,2", 2)]
)
def test_gpus_are_those_that_cuda_would_show(visible: str | None, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    devices = [Path("/dev") / name for name in ("nvidia0", "nvidia1", "nvidiactl")]
    monkeypatch.setattr(Path, "glob", lambda _folder, _pattern: iter(devices))
    assert machine.gpus() == count


def test_a_hostfile_gives_one_rank_to_every_slot(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("node1 slots=4\nnode2 slots=4\n")
    placement = default_placement(None, {}, hostfile=str(hosts))
    assert (placement.jobs, placement.numerics.ranks, placement.hostfile) == (1, 8, str(hosts))
    with pytest.raises(InputError, match="ranks=2 must be the 8 slots"):
        default_placement(None, {"ranks": 2}, hostfile=str(hosts))
    with pytest.raises(InputError, match="cannot be read"):
        default_placement(None, {}, hostfile=str(tmp_path / "absent"))


@pytest.mark.parametrize(
    ("there", "numerics", "told"),
    [
        (0, Numerics(device="cuda"), "sees no GPU"),
        (2, Numerics(device="cuda", ranks=4), "sees 2 GPUs, not 4; use ranks=2"),
        (2, Numerics(device="cuda:5"), "sees 2 GPUs, not 6; use device=cuda:1"),
    ],
)
def test_devices_that_are_not_there_are_told_before_the_run(
    there: int, numerics: Numerics, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "gpus", lambda: there)
    with pytest.raises(InputError, match=told):
        check_machine(Placement(numerics=numerics))
    check_machine(Placement())
    if there:  # other machines have devices of their own
        check_machine(Placement(hostfile="hosts", numerics=Numerics(device="cuda", ranks=64)))


def test_a_run_without_deepspeed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deepspeed", None)
    with pytest.raises(InputError, match="pip install 'deepspeed"):
        check_machine(Placement())


def test_a_resumed_stage_keeps_its_numerics_but_for_ranks_that_are_given(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for wanted, found in (
        (Numerics(ranks=2, micro_batch=4), Numerics(ranks=2, micro_batch=4)),
        (Numerics(micro_batch=8), Numerics(ranks=2, micro_batch=4)),
        (Numerics(ranks=3, micro_batch=8), Numerics(ranks=3, micro_batch=4)),
        (Numerics(), Numerics(ranks=3, micro_batch=4)),
    ):
        attempt = store.begin("train", "0" * 64, wanted)
        assert attempt is not None
        assert attempt.numerics == found
        (attempt.work / "resume" / "step-00000001").mkdir(parents=True, exist_ok=True)
        store.discard(attempt)
