"""A web server for fetching: files with byte ranges, connections that break, and the Hub's protocol for one dataset."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tiny_helper import command

from ablab.spec.corpus import Source
from experiments.scales import tiny

REVISION = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Web:
    """What the server has and how it behaves; tests change it while it runs."""

    files: dict[str, bytes] = field(default_factory=dict)
    """By path (`/train.zip`)."""
    ranges: bool = True
    break_after: list[int] = field(default_factory=list)
    """Bytes of the body that the next answers send before the connection ends, one entry per answer."""
    bytes_per_s: float | None = None
    chunk: int = 4096
    """Bytes that are sent at a time."""
    hub: dict[str, bytes] = field(default_factory=dict)
    """Files of the dataset `tests/stories`, by path."""
    lied: set[str] = field(default_factory=set)
    """Files of the dataset whose SHA-256 the listing has wrong."""
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    """Method, path and range of every request."""
    sent: int = 0
    """Bytes of bodies sent."""
    url: str = ""

    def ranges_of(self, path: str) -> list[str | None]:
        return [wanted for method, at, wanted in self.requests if (method, at) == ("GET", path)]


@contextmanager
def serve() -> Iterator[Web]:
    """A server on a free port of this machine."""
    web = Web()

    class Handler(_Handler):
        pass

    Handler.web = web
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    web.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def zipped(members: Mapping[str, bytes]) -> tuple[bytes, str]:
    """A zip archive and its SHA-256."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue(), hashlib.sha256(buffer.getvalue()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    web: Web
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: the tests look at `Web.requests`."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = unquote(urlsplit(self.path).path)
        self.web.requests.append(("POST", path, None))
        if path == f"/api/datasets/tests/stories/paths-info/{REVISION}":
            form = json.loads(body) if body.startswith(b"{") else parse_qs(body.decode())
            self._json([_entry(self.web, name) for name in form["paths"] if name in self.web.hub])
        else:
            self._missing()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.web.requests.append((self.command, path, self.headers.get("Range")))
        api, resolve = "/api/datasets/tests/stories", f"/datasets/tests/stories/resolve/{REVISION}/"
        if path in self.web.files:
            self._body(self.web.files[path], {})
        elif path.startswith(resolve) and path.removeprefix(resolve) in self.web.hub:
            content = self.web.hub[path.removeprefix(resolve)]
            etag = hashlib.sha256(content).hexdigest()
            self._body(content, {"ETag": f'"{etag}"', "X-Repo-Commit": REVISION, "X-Linked-Size": str(len(content))})
        elif path in (api, f"{api}/revision/{REVISION}"):
            siblings = [{"rfilename": name} for name in self.web.hub]
            self._json({"id": "tests/stories", "sha": REVISION, "siblings": siblings, "tags": [], "private": False})
        elif path.startswith(f"{api}/tree/{REVISION}"):
            self._tree(path.removeprefix(f"{api}/tree/{REVISION}").strip("/"))
        else:
            self._missing()

    def _tree(self, folder: str) -> None:
        inside = f"{folder}/" if folder else ""
        entries = {}
        for name in self.web.hub:
            if name.startswith(inside):
                child, nested, _ = name.removeprefix(inside).partition("/")
                directory = {"type": "directory", "path": inside + child, "oid": "0" * 40, "size": 0}
                entries[child] = directory if nested else _entry(self.web, name)
        self._json(list(entries.values()))

    def _json(self, value: Any) -> None:
        self._body(json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _missing(self) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _body(self, content: bytes, headers: Mapping[str, str]) -> None:
        start, status = 0, 200
        wanted = self.headers.get("Range")
        if wanted is not None and self.web.ranges:
            first = wanted.removeprefix("bytes=").partition("-")[0]
            start, status = int(first), 206
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if self.command != "HEAD":
            self._send(content[start:])

    def _send(self, content: bytes) -> None:
        whole = len(content)
        if self.web.break_after:
            content = content[: self.web.break_after.pop(0)]
        for at in range(0, len(content), self.web.chunk):
            chunk = content[at : at + self.web.chunk]
            try:
                self.wfile.write(chunk)
            except OSError:  # the client was killed
                break
            self.web.sent += len(chunk)
            if self.web.bytes_per_s is not None:
                time.sleep(len(chunk) / self.web.bytes_per_s)
        self.close_connection = len(content) < whole


def _entry(web: Web, name: str) -> dict[str, Any]:
    content = web.hub[name]
    entry: dict[str, Any] = {
        "type": "file",
        "path": name,
        "size": len(content),
        "oid": hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest(),
    }
    if "train" in name:  # the Hub has a SHA-256 of large files alone
        sha256 = hashlib.sha256(content).hexdigest() if name not in web.lied else "f" * 64
        entry["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 134}
    return entry


DECLARATION = """
from pathlib import Path
from ablab.spec import Ablation, Design, Recipe, Replicate

recipe = Recipe.model_validate_json(Path(__file__).parents[1].joinpath("recipe.json").read_text())
design = Design(
    control="real-only",
    recipe=recipe,
    arms=(),
    replicates=(Replicate(train_seed=1, generation_seed=1),),
    claims=(),
)
ABLATION = Ablation(name="study", version=1, question="What is there?", designs={"smoke": design})
"""


def project(folder: Path, *sources: Source) -> dict[str, str]:
    """A project with the ablation `study` on these sources; the environment of its commands."""
    recipe = tiny()
    corpus = recipe.corpus.model_copy(update={"sources": sources})
    (folder / "ablations").mkdir(parents=True)
    (folder / "recipe.json").write_text(recipe.model_copy(update={"corpus": corpus}).model_dump_json())
    (folder / "ablations" / "study.py").write_text(DECLARATION)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ABLAB_", "HF_"))}
    quick = {"NO_PROXY": "127.0.0.1", "USE_TORCH": "0"}  # else `datasets` imports torch
    return {**kept, "ABLAB_PROJECT": str(folder), "HF_HOME": str(folder / "hf"), **quick}


def data_command(action: str, environment: Mapping[str, str], *more: str) -> subprocess.CompletedProcess[str]:
    """`ablab data ACTION study`."""
    return subprocess.run(
        command("ablab", "data", action, "study", *more), env=environment, capture_output=True, text=True, check=False
    )


def kill_after(sent: int, web: Web, environment: Mapping[str, str]) -> None:
    """Begin a fetch, and kill -9 it when the server has sent so many bytes."""
    fetch = subprocess.Popen(
        command("ablab", "data", "fetch", "study"),
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while web.sent < sent and fetch.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert fetch.poll() is None, "the fetch ended before it could be killed"
    finally:
        fetch.kill()
        fetch.wait()
