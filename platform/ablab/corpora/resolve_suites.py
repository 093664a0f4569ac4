"""Resolving suites: their files become content digests; everything wrong with them is said. Imports no pyarrow."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path

from ablab.corpora import microworld
from ablab.corpora.filecheck import FactCache
from ablab.corpora.paths import absolute, changed, no_folder
from ablab.corpora.suite_ewok import Unreadable, check_archive, check_password, domains
from ablab.corpora.suite_files import LAYOUTS, check_file
from ablab.corpora.suite_lm_eval import resolve_tasks
from ablab.errors import InputError, did_you_mean
from ablab.spec.suites import BabyLMSuite, LmEvalTasks, MicroworldSuites, SuiteSource

NAMES_SHOWN = 12  # of missing or extra files


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
    if isinstance(suite, LmEvalTasks):
        return resolve_tasks(suite, data, facts)
    where, path = f"suite {suite.name!r}", absolute(suite.path, data)
    read = _archive if suite.task == "ewok" else _folder
    digests, found = read(suite, path, data, facts)
    faults = [fault if fault.startswith(where) else f"{where}: {fault}" for fault in found]
    least = LAYOUTS[suite.task].least
    if suite.items_per_task is not None and suite.items_per_task < least:
        faults.append(f"{where}: items_per_task={suite.items_per_task} is too few for a score; use {least} or more")
    return suite.model_copy(update={"path": str(path), "digests": digests}), faults


def _folder(suite: BabyLMSuite, folder: Path, data: Path, facts: FactCache) -> tuple[dict[str, str], list[str]]:
    """Digests of a folder's files by name, and their faults."""
    if not folder.is_dir():
        return dict(suite.digests), [no_folder(f"suite {suite.name!r}", suite.path, folder, data)]
    layout = LAYOUTS[suite.task]
    digests, faults = {}, []
    present = {path.name: path for path in sorted(folder.glob(f"*{layout.suffix}"))}
    for name, path in present.items():
        if suite.files is not None and name not in suite.files:
            continue  # said to be one too many
        try:
            found = facts.checked(suite.task, path, partial(check_file, suite.task))
        except OSError as error:
            faults.append(f"{path} cannot be read ({error.strerror})")
            continue
        digests[name] = found.sha256
        faults += found.faults
    if not present:
        faults.append(f"{folder} holds no *{layout.suffix}; give the folder that holds the suite's files")
    else:
        faults += _list_faults(suite, present, folder)
    return digests, [*faults, *_digest_faults(suite, folder, digests)]


def _archive(suite: BabyLMSuite, path: Path, data: Path, facts: FactCache) -> tuple[dict[str, str], list[str]]:
    """Digest of EWoK's zip, and its faults."""
    if not path.is_file():
        hint = "" if Path(suite.path).expanduser().is_absolute() else f"; relative paths start at ABLAB_DATA ({data})"
        return dict(suite.digests), [f"path={suite.path!r} is not a file (looked for {path}){hint}; give EWoK's zip"]
    faults: list[str] = []
    digests: dict[str, str] = {}
    try:
        faults += _list_faults(suite, domains(path), path)
        check_password(path)  # each time: what is remembered says nothing about the password
        found = facts.checked(suite.task, path, check_archive)
        digests[path.name] = found.sha256
        faults += [*found.faults, *_digest_faults(suite, path.parent, digests)]
    except Unreadable as error:
        faults.append(str(error))
    except OSError as error:
        faults.append(f"{path} cannot be read ({error.strerror})")
    return digests, faults


def _list_faults(suite: BabyLMSuite, present: Collection[str], where: Path) -> Iterator[str]:
    """Files that are declared and absent, or present and not declared."""
    if suite.files is None:
        return
    mean = f"the mean over {len(suite.files)} {LAYOUTS[suite.task].mean}"
    if missing := [name for name in suite.files if name not in present]:
        yield (
            f"{where} lacks {_named(missing)} of the suite's {len(suite.files)} files, which would be left out of "
            f"{mean}; put them there, or declare in files what there is"
        )
    if extra := [name for name in sorted(present) if name not in suite.files]:
        yield (
            f"{where} holds {_named(extra)} beside the suite's {len(suite.files)} files, left out of {mean}; "
            "remove them, or declare them in files"
        )


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" * (len(names) > NAMES_SHOWN)
    return f"{len(names)} ({', '.join(names[:NAMES_SHOWN])}{more})"


def _digest_faults(suite: BabyLMSuite, folder: Path, digests: dict[str, str]) -> Iterator[str]:
    """Differences from the digests that the recipe declares, if it does."""
    if suite.digests and digests.keys() != suite.digests.keys():
        names = ", ".join(sorted(digests.keys() ^ suite.digests.keys()))
        yield f"{folder} does not hold the files that the recipe declares; they differ in {names}"
    for name in sorted(digests.keys() & suite.digests.keys()):
        if digests[name] != suite.digests[name]:
            yield changed(folder / name, suite.digests[name], digests[name])


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
