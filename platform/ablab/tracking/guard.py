"""Stands between `ablab ui` and a server, and ends the server with all its processes when `ablab ui` is gone.

Run by its path, with the server's command line as arguments: it imports nothing of ablab, so that it starts at once.
Its standard input is a pipe that nobody writes to; it closes with `ablab ui`, also when that is killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

STOP_SECONDS = 10.0


def main() -> int:
    """The server's exit status; 128 + the signal's number where a signal ended it."""
    # a session of its own: one signal to its group reaches every process of the server
    server = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)
    signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    threading.Thread(target=_end_with_parent, args=(server.pid,), daemon=True).start()
    status = server.wait()
    _end(server.pid)
    return status if status >= 0 else 128 - status


def _end_with_parent(group: int) -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    _end(group)


def _end(group: int) -> None:
    """SIGTERM to the whole group, SIGKILL to what is left of it after 10 s."""
    deadline = time.monotonic() + STOP_SECONDS
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGTERM)
        while time.monotonic() < deadline:
            time.sleep(0.05)
            os.killpg(group, 0)
        os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
