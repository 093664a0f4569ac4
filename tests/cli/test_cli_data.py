"""`ablab data`: what is there, what is not, and where it comes from."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fetch_helper import REVISION, Web, data_command, kill_after, project, serve, zipped
from tiny_helper import command

from ablab.spec.corpus import Archive, BabyLMSource, FileSource, HubSource, MicroworldSource

TEXT = random.Random(1).randbytes(2_000).hex().encode()  # about 2 kB in an archive
WORLD = MicroworldSource(world_seed=1, words=100, validation_words=50, test_words=50)
HUB = HubSource(name="stories", repo="a/b", revision=REVISION, held_out_share=None, words=None, evaluation_words=None)


@pytest.fixture
def web() -> Iterator[Web]:
    with serve() as served:
        yield served


def books(web: Web) -> BabyLMSource:
    """A source with an archive for each split."""
    archives: dict[str, Archive] = {}
    for split, suffix in {"train": "train", "validation": "dev", "test": "test"}.items():
        packed, digest = zipped({f"all/books.{suffix}": TEXT + suffix.encode()})
        web.files[f"/{suffix}.zip"] = packed
        archives[split] = Archive(url=f"{web.url}/{suffix}.zip", sha256=digest, folder="all")
    return BabyLMSource.model_validate(
        {"name": "books", "path": "babylm", "words": None, "evaluation_words": None, "archives": archives}
    )


def states(listed: str) -> dict[str, str]:
    items: list[dict[str, Any]] = json.loads(listed)["items"]
    return {item["name"]: item["state"] for item in items}


def test_the_list_says_where_each_source_and_suite_lies_and_comes_from(web: Web, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.txt").write_text("a few words")
    mine = FileSource(name="mine", train=("*.txt",), held_out_share=0.1, words=None, evaluation_words=None)
    environment = project(tmp_path, WORLD, books(web), HUB, mine)
    done = data_command("list", environment, "--json")
    assert done.returncode == 0, done.stderr
    assert states(done.stdout) == {
        "microworld": "built in",
        "books": "missing",
        "stories": "missing",
        "mine": "there",
        "minimal_pairs, qa_congruence": "built in",
    }
    items = {item["name"]: item for item in json.loads(done.stdout)["items"]}
    assert items["mine"]["bytes"] == len("a few words")
    assert [file["origin"] for file in items["books"]["files"]] == [
        f"{web.url}/{n}.zip" for n in ("train", "dev", "test")
    ]
    assert items["books"]["files"][1]["path"] == str(tmp_path / "data/babylm/dev/books.dev")
    assert items["stories"]["files"][2]["origin"] == "a/b test at 0123456789ab"
    assert items["stories"]["path"] == str(tmp_path / "data/hub/a--b" / REVISION)
    shown = data_command("list", environment).stdout
    for name in ("microworld", "built in", "missing", "lies in     babylm", "/dev.zip, ", "`ablab data fetch`"):
        assert name in shown


def test_a_killed_fetch_is_listed_as_unfinished_and_goes_on(web: Web, tmp_path: Path) -> None:
    environment = project(tmp_path, books(web))
    web.bytes_per_s, web.chunk = 2_000.0, 256
    kill_after(700, web, environment)
    assert states(data_command("list", environment, "--json").stdout)["books"] == "unfinished"

    run = subprocess.run(
        command("run-ablation", "study"), env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 2
    assert "corpus source 'books'" in run.stderr
    assert "run `ablab data fetch`" in run.stderr

    web.bytes_per_s = None
    done = data_command("fetch", environment)
    assert done.returncode == 0, done.stderr
    assert "books: 3 file(s) fetched" in done.stdout
    assert f"{web.url}/train.zip" in done.stderr
    assert [web.ranges_of("/train.zip")[0], len(web.ranges_of("/train.zip"))] == [None, 2]
    assert str(web.ranges_of("/train.zip")[1]).startswith("bytes=")
    for suffix in ("train", "dev", "test"):
        assert (tmp_path / "data" / "babylm" / suffix / f"books.{suffix}").read_bytes() == TEXT + suffix.encode()

    requests = len(web.requests)
    again = data_command("fetch", environment, "--json")
    assert json.loads(again.stdout)["fetched"] == []
    assert states(again.stdout)["books"] == "there"
    assert again.stderr == ""
    assert len(web.requests) == requests


def test_what_has_no_address_is_named_with_the_place_where_it_belongs(tmp_path: Path) -> None:
    mine = BabyLMSource(name="mine", path="own", words=None, evaluation_words=None)
    environment = project(tmp_path, mine)
    done = data_command("fetch", environment)
    assert done.returncode == 1
    for folder in ("train", "dev", "test"):
        path = tmp_path / "data" / "own" / folder / f"mine.{folder}"
        assert str(path) in done.stderr
        path.parent.mkdir(parents=True)
        path.write_text("text")
    assert data_command("fetch", environment).returncode == 0


def test_bad_input_is_said_before_anything_is_fetched(web: Web, tmp_path: Path) -> None:
    environment = project(tmp_path, books(web), HUB.model_copy(update={"revision": "main"}))
    done = data_command("fetch", environment)
    assert done.returncode == 2
    assert "needs a revision" in done.stderr
    assert web.requests == []
    assert data_command("list", environment, "--scale", "huge").returncode == 2
