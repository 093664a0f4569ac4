"""Resolving suites: their files become content digests; everything wrong with them is said. Imports no pyarrow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ablab.corpora import microworld
from ablab.corpora.filecheck import FactCache
from ablab.corpora.paths import absolute, changed, no_folder
from ablab.errors import InputError, did_you_mean
from ablab.spec.suites import MicroworldSuites, SuiteSource


def resolve_suites(
    suites: Sequence[SuiteSource], data: Path, facts: FactCache
) -> tuple[tuple[SuiteSource, ...], list[str]]:
    """The suites with absolute paths and the digest of every file, and all their faults."""
    resolved: list[SuiteSource] = []
    faults: list[str] = []
    for suite in suites:
        made, found = _suite(suite, data, facts)
        resolved.append(made)
        faults += found
    return tuple(resolved), [*faults, *_suite_name_faults(resolved)]


def _suite(suite: SuiteSource, data: Path, facts: FactCache) -> tuple[SuiteSource, list[str]]:
    if isinstance(suite, MicroworldSuites):
        return suite, list(_microworld_faults(suite))
    where = f"suite {suite.name!r}"
    folder = absolute(suite.path, data)
    if not folder.is_dir():
        return suite, [no_folder(where, suite.path, folder, data)]
    digests, faults = {}, []
    for path in sorted(folder.glob("*.jsonl")):
        try:
            found = facts.pairs(path)
        except OSError as error:
            faults.append(f"{where}: {path} cannot be read ({error.strerror})")
            continue
        digests[path.name] = found.sha256
        faults += [f"{where}: {fault}" for fault in found.faults]
    if not digests and not faults:
        faults.append(f"{where}: {folder} holds no *.jsonl; give the folder that holds the suite's files")
    if suite.digests and digests.keys() != suite.digests.keys():
        names = ", ".join(sorted(digests.keys() ^ suite.digests.keys()))
        faults.append(f"{where}: {folder} does not hold the files that the recipe declares; they differ in {names}")
    for name in sorted(digests.keys() & suite.digests.keys()):
        if digests[name] != suite.digests[name]:
            faults.append(changed(folder / name, suite.digests[name], digests[name]))
    return suite.model_copy(update={"path": str(folder), "digests": digests}), faults


def _microworld_faults(suite: MicroworldSuites) -> Iterator[str]:
    known = list(microworld.suites(suite.world_seed, 1))
    for name in suite.names:
        if name not in known:
            yield f"evaluation.suites: the microworld has no suite {name!r}; {did_you_mean(name, known)}"
    try:
        microworld.suites(suite.world_seed, suite.items_per_task)
    except InputError as error:
        yield from error.faults


def _suite_name_faults(suites: list[SuiteSource]) -> Iterator[str]:
    names = [name for s in suites for name in (s.names if isinstance(s, MicroworldSuites) else (s.name,))]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"evaluation.suites: the name {name!r} occurs twice; every suite needs its own"
