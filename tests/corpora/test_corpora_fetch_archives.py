"""Archives are received whole or not at all, from where the last attempt ended."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from fetch_helper import Web, serve, zipped

from ablab.corpora import fetch_http
from ablab.corpora.fetch import fetch_sources
from ablab.corpora.fetch_inventory import source_item
from ablab.errors import InputError, RunError
from ablab.spec.corpus import Archive, BabyLMSource
from ablab.store.locks import try_lock

TEXT = " ".join(str(number) for number in random.Random(1).choices(range(10**9), k=20_000)).encode()  # 200 kB
MEMBERS = {
    "train_100M/gutenberg.train": TEXT,
    "train_100M/wiki.train": b"a wiki\n",
    "../../evil.train": b"outside",
    "/evil.train": b"outside",
}


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setattr(fetch_http, "_PAUSE_S", 0.01)
    with serve() as served:
        yield served


def source_of(web: Web, name: str = "gutenberg", sha256: str | None = None) -> BabyLMSource:
    """A source whose train file is in an archive that the server has."""
    packed, digest = zipped(MEMBERS)
    web.files["/train.zip"] = packed
    archive = Archive(url=f"{web.url}/train.zip", sha256=sha256 or digest, folder="train_100M")
    return BabyLMSource(name=name, path="babylm", words=None, evaluation_words=None, archives={"train": archive})


def fetch(data: Path, *sources: BabyLMSource) -> None:
    fetch_sources(sources, data, lambda *_: None)


def test_sources_share_one_download_and_nothing_else_leaves_the_archive(web: Web, tmp_path: Path) -> None:
    data = tmp_path / "inner" / "data"
    fetch(data, source_of(web), source_of(web, "wiki"))
    assert (data / "babylm/train/gutenberg.train").read_bytes() == TEXT
    assert (data / "babylm/train/wiki.train").read_bytes() == b"a wiki\n"
    assert web.ranges_of("/train.zip") == [None]
    found = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert found == sorted([".lock", "gutenberg.train", "wiki.train", f"{source_of(web).archives['train'].sha256}.zip"])


def test_a_broken_connection_is_taken_up_where_it_ended(web: Web, tmp_path: Path) -> None:
    source = source_of(web)
    web.break_after = [30_000, 50_000]
    fetch(tmp_path, source)
    assert (tmp_path / "babylm/train/gutenberg.train").read_bytes() == TEXT
    assert web.ranges_of("/train.zip") == [None, "bytes=30000-", "bytes=80000-"]
    assert web.sent == len(web.files["/train.zip"])


def test_a_server_without_ranges_is_asked_again_from_the_start(web: Web, tmp_path: Path) -> None:
    source = source_of(web)
    web.ranges, web.break_after = False, [30_000]
    fetch(tmp_path, source)
    assert (tmp_path / "babylm/train/gutenberg.train").read_bytes() == TEXT
    assert web.sent == len(web.files["/train.zip"]) + 30_000


def test_a_wrong_digest_leaves_nothing_and_the_right_file_is_fetched_next(web: Web, tmp_path: Path) -> None:
    source = source_of(web)
    right = web.files["/train.zip"]
    web.files["/train.zip"] = right[:-1] + b"x"
    with pytest.raises(
        RunError, match=f"have the digest .*, not {source.archives['train'].sha256}; they were removed"
    ) as caught:
        fetch(tmp_path, source)
    assert f"{web.url}/train.zip" in str(caught.value)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [".lock"]
    assert source_item(source, tmp_path).state == "missing"
    web.files["/train.zip"] = right
    fetch(tmp_path, source)
    assert (tmp_path / "babylm/train/gutenberg.train").read_bytes() == TEXT


def test_what_was_received_is_kept_when_the_server_is_gone(web: Web, tmp_path: Path) -> None:
    source = source_of(web)
    web.break_after = [40_000, 0, 0, 0]
    with pytest.raises(RunError, match="40,000 bytes are kept; repeat the command") as caught:
        fetch(tmp_path, source)
    assert f"{web.url}/train.zip" in str(caught.value)
    assert source_item(source, tmp_path).state == "unfinished"
    fetch(tmp_path, source)
    assert web.ranges_of("/train.zip")[-1] == "bytes=40000-"
    assert web.sent == len(web.files["/train.zip"])


def test_a_download_that_was_complete_but_not_yet_verified_is_not_repeated(web: Web, tmp_path: Path) -> None:
    source = source_of(web)
    part = tmp_path / "downloads" / f"{source.archives['train'].sha256}.zip.part"
    part.parent.mkdir()
    part.write_bytes(web.files["/train.zip"])
    fetch(tmp_path, source)
    assert web.sent == 0
    assert (tmp_path / "babylm/train/gutenberg.train").read_bytes() == TEXT


def test_an_address_that_is_not_there_is_asked_once(web: Web, tmp_path: Path) -> None:
    source = source_of(web)
    del web.files["/train.zip"]
    with pytest.raises(RunError, match=r"/train\.zip: HTTP Error 404.*\n.*check the network and the address"):
        fetch(tmp_path, source)
    assert len(web.requests) == 1


def test_a_file_that_is_there_is_neither_fetched_nor_replaced(web: Web, tmp_path: Path) -> None:
    there = tmp_path / "babylm/train/gutenberg.train"
    there.parent.mkdir(parents=True)
    there.write_text("mine")
    fetch(tmp_path, source_of(web))
    assert there.read_text() == "mine"
    assert web.requests == []


def test_a_member_that_is_not_in_the_archive_is_named_with_the_nearest(web: Web, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no 'train_100M/gutenburg.train'; did you mean 'train_100M/gutenberg.train'"):
        fetch(tmp_path, source_of(web, "gutenburg"))
    assert not (tmp_path / "babylm/train").exists()


def test_what_is_no_archive_is_said_with_its_address(web: Web, tmp_path: Path) -> None:
    source = source_of(web, sha256=hashlib.sha256(b"<html>").hexdigest())
    web.files["/train.zip"] = b"<html>"
    with pytest.raises(RunError, match=r"cannot be taken from the archive of http.*not a zip file"):
        fetch(tmp_path, source)
    assert not (tmp_path / "babylm/train/gutenberg.train").exists()


def test_an_address_that_is_no_web_address_is_refused(web: Web, tmp_path: Path) -> None:
    archive = source_of(web).archives["train"].model_copy(update={"url": "file:///etc/passwd"})
    with pytest.raises(InputError, match="must begin with https://"):
        fetch(tmp_path, source_of(web).model_copy(update={"archives": {"train": archive}}))


def test_two_fetches_at_once_are_refused(web: Web, tmp_path: Path) -> None:
    lock = try_lock(tmp_path / "downloads" / ".lock")
    assert lock is not None
    with lock, pytest.raises(RunError, match="another `ablab data fetch` is at work"):
        fetch(tmp_path, source_of(web))
    assert web.requests == []


def test_a_full_disk_is_said_before_anything_is_received(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"https://x needs 1,000,000,000,000,000,000 bytes, but .* has [0-9,]+ free"):
        fetch_http.enough_space(tmp_path / "not" / "there", 10**18, "https://x")
