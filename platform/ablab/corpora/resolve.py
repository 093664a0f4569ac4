"""Resolving: the files that a recipe names become content digests, and everything wrong with them becomes one error.

The only step of planning that reads files. Imports neither torch nor pyarrow, so that planning stays fast.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from ablab.corpora import microworld
from ablab.corpora.filecheck import FactCache, FileFacts
from ablab.corpora.sources import FILES, read_source
from ablab.errors import InputError, did_you_mean
from ablab.spec.recipe import BabyLMSource, MicroworldSource, MicroworldSuites, Recipe, Source, SuiteSource

Words = dict[str, int]  # by split
LONG_WORDS = 5_000  # no text of so many words is a single document


def resolve_recipe(recipe: Recipe, data: Path, cache: Path | None = None) -> Recipe:
    """The recipe with absolute paths and the digest of every file.

    `data`: the folder that relative paths start from. `cache`: JSON file that remembers what is known of files.
    Raises one InputError with every fault of the corpus and of the suites.
    """
    facts = FactCache(cache)
    faults: list[str] = []
    sources: list[Source] = []
    words: dict[str, Words] = {}
    for source in recipe.corpus.sources:
        resolved, words[source.name], found = _source(source, data, facts)
        sources.append(resolved)
        faults += found or _document_faults(resolved, words[source.name])
    if all(of.keys() == FILES.keys() for of in words.values()):  # else some file is unusable, and named already
        faults += [*_total_faults(recipe, words), *_copy_faults(sources)]
    suites: list[SuiteSource] = []
    for suite in recipe.evaluation.suites:
        made, found = _suite(suite, data, facts)
        suites.append(made)
        faults += found
    faults += _suite_name_faults(suites)
    facts.save()
    if faults:
        raise InputError(faults)
    corpus = recipe.corpus.model_copy(update={"sources": tuple(sources)})
    evaluation = recipe.evaluation.model_copy(update={"suites": tuple(suites)})
    return recipe.model_copy(update={"corpus": corpus, "evaluation": evaluation})


def _absolute(path: str, data: Path) -> Path:
    return (data / Path(path).expanduser()).absolute()


def _source(source: Source, data: Path, facts: FactCache) -> tuple[Source, Words, list[str]]:
    """The source resolved, the words it gives to each split, and its faults."""
    if isinstance(source, MicroworldSource):
        words = {"train": source.words, "validation": source.validation_words, "test": source.test_words}
        return source, words, []
    where = f"corpus source {source.name!r}"
    folder = _absolute(source.path, data)
    if not folder.is_dir():
        return source, {}, [_no_folder(where, source.path, folder, data)]
    words, digests, faults = {}, {}, []
    for split, suffix in FILES.items():
        path = folder / suffix / f"{source.name}.{suffix}"
        try:
            found = facts.text(path)
        except OSError as error:
            faults.append(f"{where}: {path} cannot be read ({error.strerror}); the BabyLM layout needs this file")
            continue
        if found.faults:
            faults += found.faults
            continue
        faults += _text_faults(source, split, path, found)
        digests[split] = found.sha256
        asked = source.words if split == "train" else source.evaluation_words
        words[split] = found.words if asked is None else min(asked, found.words)
    return source.model_copy(update={"path": str(folder), "digests": digests}), words, faults


def _text_faults(source: BabyLMSource, split: str, path: Path, found: FileFacts) -> Iterator[str]:
    field, asked = ("words", source.words) if split == "train" else ("evaluation_words", source.evaluation_words)
    if asked is not None and asked > found.words:
        yield (
            f"corpus source {source.name!r}: {field}={asked} is more than {path} holds ({found.words}); "
            f"use {found.words} or less, or null for all"
        )
    declared = source.digests.get(split)
    if declared is not None and declared != found.sha256:
        yield _changed(path, declared, found.sha256)


def _document_faults(source: Source, words: Words) -> Iterator[str]:
    """Train needs two documents, one of them for prompts, a held-out file one; only short texts can lack them."""
    for split, suffix in FILES.items():
        needed = 2 if split == "train" else 1
        if words[split] >= LONG_WORDS:
            continue
        locations = {}
        if isinstance(source, BabyLMSource):
            locations = {source.digests[split]: Path(source.path) / suffix / f"{source.name}.{suffix}"}
        documents = read_source(source, split, locations)
        found = len(list(islice(documents, needed)))
        documents.close()
        if found < needed:
            yield (
                f"corpus source {source.name!r}: its {split} text of {words[split]} words is {found} document(s), "
                f"but {needed} are needed; give more text"
            )


def _changed(path: Path, declared: str, found: str) -> str:
    return (
        f"{path}: its SHA-256 is {found[:12]}..., the recipe declares {declared[:12]}...; "
        "put the declared file there, or declare the new digest"
    )


def _no_folder(where: str, stated: str, folder: Path, data: Path) -> str:
    hint = "" if Path(stated).expanduser().is_absolute() else f"; relative paths start at ABLAB_DATA ({data})"
    return f"{where}: path={stated!r} is not a folder (looked for {folder}){hint}"


def _total_faults(recipe: Recipe, words: dict[str, Words]) -> Iterator[str]:
    """Rules for all sources together."""
    context, budget = recipe.model.context, recipe.corpus.word_budget
    for split in FILES:
        total = sum(of[split] for of in words.values())
        if total < context:
            yield (
                f"corpus: the {split} files give {total} words, which is shorter than one block of "
                f"model.context={context} tokens; give more text or a shorter context"
            )
    total = sum(of["train"] for of in words.values())
    if budget is not None and total > budget:
        yield (
            f"corpus.word_budget={budget} is exceeded: the train files give {total} words; "
            "lower the words of the sources or raise the budget"
        )


def _copy_faults(sources: list[Source]) -> Iterator[str]:
    """One content under two names would vanish as duplicates, and leave a source or a split empty."""
    known: dict[str, str] = {}
    for source in sources:
        if isinstance(source, MicroworldSource):
            contents = {f"microworld {source.world_seed}": f"microworld source {source.name!r}"}
        else:
            contents = {d: f"the {split} file of {source.name!r}" for split, d in source.digests.items()}
            if len(set(source.digests.values())) < len(source.digests):
                yield f"corpus source {source.name!r}: two of its files are the same; splits must differ"
        for content, name in contents.items():
            if content in known:
                yield f"corpus: {known[content]} and {name} have the same content; leave one of them out"
            known[content] = name


def _suite(suite: SuiteSource, data: Path, facts: FactCache) -> tuple[SuiteSource, list[str]]:
    if isinstance(suite, MicroworldSuites):
        return suite, list(_microworld_faults(suite))
    where = f"suite {suite.name!r}"
    folder = _absolute(suite.path, data)
    if not folder.is_dir():
        return suite, [_no_folder(where, suite.path, folder, data)]
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
            faults.append(_changed(folder / name, suite.digests[name], digests[name]))
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
