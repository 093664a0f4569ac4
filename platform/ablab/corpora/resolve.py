"""Resolving: the files that a recipe names become content digests, and everything wrong with them becomes one error.

The only step of planning that reads files. Imports neither torch nor pyarrow, so that planning stays fast.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from ablab.corpora.filecheck import FactCache, FileFacts
from ablab.corpora.paths import absolute, changed, no_folder
from ablab.corpora.resolve_suites import resolve_suites
from ablab.corpora.sources import FILES, read_source
from ablab.errors import InputError
from ablab.spec.corpus import BabyLMSource, MicroworldSource, Source
from ablab.spec.recipe import Recipe

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
    suites, found = resolve_suites(recipe.evaluation.suites, data, facts)
    faults += found
    facts.save()
    if faults:
        raise InputError(faults)
    corpus = recipe.corpus.model_copy(update={"sources": tuple(sources)})
    evaluation = recipe.evaluation.model_copy(update={"suites": suites})
    return recipe.model_copy(update={"corpus": corpus, "evaluation": evaluation})


def _source(source: Source, data: Path, facts: FactCache) -> tuple[Source, Words, list[str]]:
    """The source resolved, the words it gives to each split, and its faults."""
    if isinstance(source, MicroworldSource):
        words = {"train": source.words, "validation": source.validation_words, "test": source.test_words}
        return source, words, []
    where = f"corpus source {source.name!r}"
    folder = absolute(source.path, data)
    if not folder.is_dir():
        return source, {}, [no_folder(where, source.path, folder, data)]
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
        yield changed(path, declared, found.sha256)


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
