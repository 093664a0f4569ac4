"""Datasets of the Hub: the real loading code against a server that speaks the Hub's protocol."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fetch_helper import REVISION, Web, data_command, kill_after, project, serve
from tiny_helper import command

from ablab.corpora.fetch_inventory import source_item
from ablab.corpora.hub import ContentDigest, hub_folder
from ablab.spec.corpus import HubSource

TRAIN = [f"story {number} " + "of a cat " * (number % 40) for number in range(6_000)]
HELD_OUT = ["one two", "", "three\nfour", *(f"tale {number} " + "of a dog " * 9 for number in range(40))]
SOURCE = HubSource(
    name="stories",
    repo="tests/stories",
    revision=REVISION,
    validation=None,
    test="validation",
    held_out_share=0.1,
    words=None,
    evaluation_words=None,
)


def parquet(texts: Sequence[str | None]) -> bytes:
    buffer = io.BytesIO()
    columns = {"length": [len(text or "") for text in texts], "text": list(texts)}
    pq.write_table(pa.table(columns, schema=pa.schema([("length", pa.int64()), ("text", pa.string())])), buffer)
    return buffer.getvalue()


@pytest.fixture
def web() -> Iterator[Web]:
    with serve() as served:
        served.hub = {
            "README.md": b"---\nlicense: mit\n---\n",
            "data/train-00000-of-00002.parquet": parquet(TRAIN[:5_000]),
            "data/train-00001-of-00002.parquet": parquet(TRAIN[5_000:]),
            "data/validation-00000-of-00001.parquet": parquet([*HELD_OUT[:1], None, *HELD_OUT[2:]]),
        }
        yield served


def content(folder: Path) -> dict[str, Any]:
    """What lies in a fetched folder: description, and the texts of each split."""
    texts = {path.stem: pq.read_table(path).to_pydict() for path in folder.glob("*.parquet")}
    return {"description": json.loads((folder / "dataset.json").read_text()), **texts}


def expected(texts: Sequence[str]) -> dict[str, Any]:
    digest = ContentDigest()
    for text in texts:
        digest.add(text)
    return {"digest": digest.hexdigest(), "documents": len(texts), "words": sum(len(text.split()) for text in texts)}


def test_a_fetch_killed_in_the_middle_goes_on_and_ends_as_the_layout_says(web: Web, tmp_path: Path) -> None:
    environment = project(tmp_path, SOURCE) | {"HF_ENDPOINT": web.url}
    folder = hub_folder(tmp_path / "data", SOURCE)
    size = sum(len(file) for file in web.hub.values())
    web.bytes_per_s = 50_000.0
    kill_after(40_000, web, environment)
    assert not (folder / "dataset.json").exists()
    assert source_item(SOURCE, tmp_path / "data").state == "unfinished"

    web.bytes_per_s = None
    first = web.sent
    done = data_command("fetch", environment, "--json")
    assert done.returncode == 0, done.stderr
    assert web.sent - first < size - 30_000  # what the killed fetch received is not sent again
    [fetched] = json.loads(done.stdout)["fetched"]
    assert fetched["checked"] == "digests of 3 of 3 files checked against the Hub's list"

    found = content(folder)
    assert found.pop("description") == {
        "repo": "tests/stories",
        "revision": REVISION,
        "config": None,
        "splits": {"train": expected(TRAIN), "test": expected(HELD_OUT)},
    }
    assert found == {"train": {"text": TRAIN}, "test": {"text": HELD_OUT}}
    assert sorted(path.name for path in folder.iterdir()) == ["dataset.json", "test.parquet", "train.parquet"]
    assert [path.name for path in (tmp_path / "data/downloads").iterdir()] == [".lock"]
    [listed] = [item for item in json.loads(done.stdout)["items"] if item["name"] == "stories"]
    assert (listed["state"], listed["words"]) == ("there", expected(TRAIN)["words"] + expected(HELD_OUT)["words"])

    run = [*command("run-ablation", "study"), "--plan"]
    plan = subprocess.run(run, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert plan.returncode == 0, plan.stderr
    assert "stories" in plan.stdout

    (folder / "test.parquet").unlink()
    assert source_item(SOURCE, tmp_path / "data").state == "unfinished"
    first = web.sent
    before = (folder / "train.parquet").stat()
    [again] = json.loads(data_command("fetch", environment, "--json").stdout)["fetched"]
    assert again["files"] == [str(folder / "test.parquet")]
    after = (folder / "train.parquet").stat()
    assert web.sent - first < 5_000  # no train file
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert content(folder)["test"] == {"text": HELD_OUT}


def test_a_file_with_another_digest_than_the_hub_lists_is_removed_and_received_again(web: Web, tmp_path: Path) -> None:
    environment = project(tmp_path, SOURCE) | {"HF_ENDPOINT": web.url}
    web.lied = {"data/train-00001-of-00002.parquet"}
    done = data_command("fetch", environment)
    assert done.returncode == 1
    assert re.search(r"train-00001-of-00002.parquet: the .* bytes received have the digest .*, not f{64};", done.stderr)
    assert not list(tmp_path.rglob("data/hub/**/*.parquet"))
    web.lied = set()
    numbers = SOURCE.model_copy(update={"text_field": "length"})
    fetched, refused = fetch_each(environment, SOURCE, numbers)
    assert fetched == "digests of 3 of 3 files checked against the Hub's list"
    assert content(hub_folder(tmp_path / "data", SOURCE))["train"] == {"text": TRAIN}
    assert "has no text in a column 'length'; known: text" in refused
    assert not (hub_folder(tmp_path / "data", numbers) / "dataset.json").exists()


def test_what_the_dataset_does_not_have_is_said_without_passwords(web: Web, tmp_path: Path) -> None:
    endpoint = web.url.replace("http://", "http://reader:secret@")
    environment = project(tmp_path, SOURCE) | {"HF_ENDPOINT": endpoint, "HF_TOKEN": "hf_secret"}
    web.break_after = [0]  # huggingface_hub tries again, and would say where
    split, config = fetch_each(
        environment, SOURCE.model_copy(update={"test": "valid"}), SOURCE.model_copy(update={"config": "small"})
    )
    assert "has no split 'valid'; did you mean 'validation'?" in split
    assert "BuilderConfig 'small' not found" in config
    assert "http://reader:***@127.0.0.1:" in config
    assert not list(tmp_path.rglob("dataset.json"))


def test_without_a_network_there_is_one_message_with_the_address(web: Web, tmp_path: Path) -> None:
    environment = project(tmp_path, SOURCE) | {"HF_ENDPOINT": web.url, "HF_HUB_OFFLINE": "1"}
    done = data_command("fetch", environment)
    assert done.returncode == 1
    assert f"{web.url}/datasets/tests/stories" in done.stderr
    assert "repeat the command" in done.stderr
    assert "Traceback" not in done.stderr
    assert web.requests == []


def fetch_each(environment: dict[str, str], *sources: HubSource) -> list[str]:
    """Fetch sources in one process of its own (`datasets` reads its settings when it is imported).

    What was checked of each, or what was said; nothing of it or of the log holds a password.
    """
    code = """
import json, sys
from pathlib import Path
from ablab.corpora.fetch import fetch_sources
from ablab.errors import RunError
from ablab.spec.corpus import HubSource

said = []
for text in sys.argv[2:]:
    try:
        said += [one.checked for one in fetch_sources([HubSource.model_validate_json(text)], Path(sys.argv[1]), print)]
    except RunError as error:
        said.append(str(error))
print(json.dumps(said))
"""
    data = Path(environment["ABLAB_PROJECT"]) / "data"
    arguments = [sys.executable, "-c", code, str(data), *(source.model_dump_json() for source in sources)]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "secret" not in done.stdout + done.stderr
    said: list[str] = json.loads(done.stdout.splitlines()[-1])
    return said
