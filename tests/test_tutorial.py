"""The tutorial, carried out as its reader would: every block is run, and what it shows is compared.

- `sh` blocks run in one bash session's folder, one after the other; each must succeed.
- `python` blocks are saved under the name in their first line.
- a `text` block is (part of) what the block before it prints: every line of it must be a line of the output. Numbers
  and what marks them are machine-dependent and not compared, but in lines about stages, which must be equal. A line
  `...` leaves out others.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tiny_helper import ROOT

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"[-+]?\d[\d.,]*")
SERVER = "ablab ui"
SECONDS = 600


def blocks() -> list[tuple[str, str]]:
    found = BLOCK.findall((ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8"))
    assert {language for language, _ in found} == {"sh", "python", "text"}
    return found


def environment() -> dict[str, str]:
    """Of a reader who has activated this environment and set nothing."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ABLAB_", "MLFLOW_"))}
    return {**kept, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def shell(block: str, folder: Path) -> tuple[str, Path]:
    """What a block prints, and the folder in which it ends."""
    script = f"set -e\n{block}\npwd >&3"
    done = subprocess.run(
        ["bash", "-c", f"exec 3>{folder / '.ended'}\n{script}"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    ended = folder / ".ended"
    after = Path(ended.read_text().strip())
    ended.unlink()
    return done.stdout, after


def serve(folder: Path) -> str:
    """Start the server on a free port, open the page it names, and stop it with Ctrl-C; what it prints."""
    with socket.socket() as free, socket.socket() as other:
        for one in (free, other):
            one.bind(("127.0.0.1", 0))
        port, studies_port = (str(one.getsockname()[1]) for one in (free, other))
    with subprocess.Popen(
        [*SERVER.split(), "--port", port, "--studies-port", studies_port],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        executable=Path(sys.executable).with_name("ablab"),
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("MLflow: "):
                with urllib.request.urlopen(line.split()[1], timeout=60) as page:
                    assert page.status == 200
            if line.startswith("Ctrl-C"):
                process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
    return "".join(lines)


def comparable(text: str) -> Iterator[str]:
    """Lines without what differs between machines."""
    for line in text.splitlines():
        if "stages" not in line.lower():
            line = NUMBER.sub("#", line).replace("*", " ")
        if line.split():
            yield " ".join(line.split())


def test_a_reader_who_follows_the_tutorial_sees_what_it_says(tmp_path: Path) -> None:
    folder, printed = tmp_path, ""
    for language, block in blocks():
        if language == "python":
            name = folder / block.splitlines()[0].removeprefix("# ")
            name.write_text(block, encoding="utf-8")
        elif language == "text":
            shown = [line for line in comparable(block) if line != "..."]
            missing = [line for line in shown if line not in list(comparable(printed))]
            assert shown
            assert not missing, f"{missing} not in\n{printed}"
        elif block.strip() == SERVER:
            printed = serve(folder)
            assert re.search(r"  width\n    arms by score +http", printed)
        else:
            printed, folder = shell(block, folder)
    assert folder == tmp_path / "my-study"
    assert (folder / "ablations" / "versions" / "width@1.json").is_file()
