"""The shards of a corpus, decoded by one process or by several.

Each process goes through all shards and decodes those that no other has finished or is at; locks of the kernel, which
end with their process, say which these are. So it matters neither how many processes there are nor whether one dies:
its shard is decoded by another. What a shard holds follows from its number alone.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack

from ablab.generate.job import Job, threads_of
from ablab.generate.shards import Shard
from ablab.store.children import context_as_task, context_of, describe_exit, start, task_given
from ablab.store.context import StageContext

WAIT_S = 0.05


def shards_in_order(ctx: StageContext, job: Job) -> Iterator[Shard]:
    """Every shard. While another process decodes the one that comes next, later ones are decoded here; so many may be
    finished before they are asked for, on disk and not in memory.
    """
    missing = [index for index in range(job.shards) if not job.folder.exists(index)]
    began, decoded = time.perf_counter(), 0
    with ExitStack() as running:
        watch = Watch(ctx, job, helpers(ctx, running, min(ctx.generation_workers, len(missing)) - 1))
        ahead, now_decoded = iter(missing), frozenset(missing)
        for index in range(job.shards):
            watch.turn_to(index)
            while (shard := job.shard(index, watch.report)) is None:
                later = next((other for other in ahead if other > index and not job.folder.exists(other)), None)
                if later is None or job.shard(later, watch.report) is None:
                    time.sleep(WAIT_S)
                watch.turn_to(index)
            if index in now_decoded:
                decoded += shard.sampled
                ctx.costs["tokens_per_second"] = decoded / (time.perf_counter() - began)
            watch.report(len(shard.words_SN) * job.sampler.new_tokens)
            yield shard


def helpers(ctx: StageContext, running: ExitStack, count: int) -> list[subprocess.Popen[bytes]]:
    """Other processes that decode shards of this corpus, until `running` closes."""
    tasks = ({"context": context_as_task(ctx), "process": number} for number in range(1, count + 1))
    return [start(running, "ablab.generate.workers:main()", task, threads_of(ctx)) for task in tasks]


def main() -> None:
    """A helper: decodes what is left, then ends. What it fails of, the process that started it fails of as well."""
    task = task_given()
    job = Job.of(context_of(task["context"], {}), task["process"])
    for index in range(job.shards):
        job.shard(index)


class Watch:
    """Progress of the whole corpus, and what became of the helpers."""

    def __init__(self, ctx: StageContext, job: Job, processes: list[subprocess.Popen[bytes]]) -> None:
        self.ctx, self.job, self.processes = ctx, job, processes
        self.total = job.sequences * job.sampler.new_tokens
        self.before = self.most = 0
        self.note = ""

    def turn_to(self, index: int) -> None:
        """This shard is needed next; the count of the others that are on disk is taken anew."""
        folder, sampler = self.job.folder, self.job.sampler
        there = folder.exists(index)
        self.before = (folder.count() - there) * sampler.shard_size * sampler.new_tokens
        damaged = there and folder.read(index) is None
        self.note = f"shard {index} is damaged or of other numerics: decoding it again" if damaged else self._deaths()

    def report(self, done: int) -> None:
        """`done` tokens of the shard at hand."""
        self.most = max(self.most, min(self.before + done, self.total))
        self.ctx.progress(self.most, self.total, "token", self.note)

    def _deaths(self) -> str:
        codes = {number: process.poll() for number, process in enumerate(self.processes, 1)}
        return "; ".join(
            f"generation process {number} died ({describe_exit(code)}), the others go on"
            for number, code in codes.items()
            if code
        )
