"""Long-lived worker processes and the one queue their events arrive in."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from ablab.errors import RunError
from ablab.store.children import describe_exit


class WorkerProcess:
    """One child process. `task` is the key it works on, None while idle."""

    def __init__(
        self,
        number: int,
        threads: int,
        log: Path,
        events: Queue[tuple[WorkerProcess, dict[str, Any]]],
        module: str = "ablab.runner.worker",
    ) -> None:
        self.number, self.log = number, log
        self.task: str | None = None
        self._events = events
        task_read, task_write = os.pipe()
        event_read, event_write = os.pipe()
        self._tasks = os.fdopen(task_write, "w", encoding="utf-8")
        self._pipe = os.fdopen(event_read, encoding="utf-8")
        try:
            with log.open("ab") as output:
                self._process = subprocess.Popen(
                    # -P: a file of the user's in the working directory must not pass for a library
                    [sys.executable, "-P", "-c", _BOOT.format(module, task_read, event_write)],
                    pass_fds=(task_read, event_write),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env={**os.environ, **_environment(threads)},
                    start_new_session=True,
                )
        except BaseException:
            self._tasks.close()
            self._pipe.close()
            raise
        finally:
            os.close(task_read)
            os.close(event_write)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def send(self, task: Mapping[str, Any]) -> None:
        """Hand over a task; a worker that has just died is noticed through its events."""
        try:
            self._tasks.write(json.dumps(task) + "\n")
            self._tasks.flush()
        except BrokenPipeError:
            return

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        """The process is there no more."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """End the process, idle or not, at once; what it had begun is resumed another time."""
        if not self.ended:
            with suppress(ProcessLookupError):  # it has ended just now
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join(timeout=10)
        try:
            self._tasks.close()
        except BrokenPipeError:
            return
        finally:
            self._pipe.close()

    def _read(self) -> None:
        for line in self._pipe:
            if line.endswith("\n"):  # else the process was killed while it wrote it
                self._events.put((self, json.loads(line)))
        code = self._process.wait()
        self._events.put((self, {"died": describe_exit(code)}))


class Pool:
    """As many workers as jobs; started when first needed, replaced when one dies."""

    def __init__(self, jobs: int, threads: int, logs: Path) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self._threads, self._logs = threads, logs
        self._events: Queue[tuple[WorkerProcess, dict[str, Any]]] = Queue()
        self.workers: list[WorkerProcess] = []
        try:
            for number in range(1, jobs + 1):
                self.workers.append(self._start(number))
        except BaseException:
            self.close()
            raise

    def idle(self) -> list[WorkerProcess]:
        return [worker for worker in self.workers if worker.task is None]

    def next_event(self, timeout_s: float) -> tuple[WorkerProcess, dict[str, Any]] | None:
        try:
            return self._events.get(timeout=timeout_s)
        except Empty:
            return None

    def replace(self, worker: WorkerProcess) -> WorkerProcess:
        """Kill a worker (if it lives) and start another in its place."""
        worker.kill()
        fresh = self._start(worker.number)
        self.workers[self.workers.index(worker)] = fresh
        return fresh

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()

    def _start(self, number: int) -> WorkerProcess:
        try:
            return WorkerProcess(number, self._threads, self._logs / f"worker-{number}.log", self._events)
        except OSError as error:
            raise RunError(f"worker process could not be started: {error}") from error


def _environment(threads: int) -> dict[str, str]:
    """Threads of every library = the worker's share of the cores; nothing reaches out to a hub on its own."""
    count = str(threads)
    return {
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "RAYON_NUM_THREADS": count,
        "TOKENIZERS_PARALLELISM": "true" if threads > 1 else "false",
        "PYTHONUNBUFFERED": "1",
        "PYTHONHASHSEED": "0",
    }


# The pipes keep their numbers in the child; it is told them.
_BOOT = "from {} import main; main({}, {})"
