"""Resolving: the files that a recipe names become content digests, and everything wrong with them becomes one error.

The only step of planning that reads files. Imports neither torch nor pyarrow, unless a source is read with pyarrow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice, product
from pathlib import Path

from ablab.corpora.filecheck import FactCache
from ablab.corpora.fingerprints import Sketch, estimated_overlap
from ablab.corpora.resolve_sources import Found, resolve_source
from ablab.corpora.resolve_suites import resolve_suites
from ablab.corpora.sources import FILES, read_source
from ablab.corpora.vocabulary import vocabulary_faults
from ablab.errors import InputError
from ablab.spec.corpus import Corpus, FileSource, MicroworldSource, Source
from ablab.spec.lower import source_locations
from ablab.spec.recipe import Recipe
from ablab.spec.suites import SuiteSource

LONG_WORDS = 5_000  # no text of so many words is a single document
MOST_OVERLAP = 0.5
"""Share of the documents of one source that another may have as well."""


@dataclass(frozen=True)
class _Corpus:
    """The sources of a corpus as they were found, and what is wrong with them whatever the rest of the recipe is."""

    found: tuple[Found, ...]
    usable: bool
    """Every text of every source can be read."""
    faults: tuple[str, ...]
    copies: tuple[str, ...]
    """Faults of texts that are there twice."""


class Resolver:
    """Resolves recipes. What is known of files is read once, and equal corpora and suites are resolved once.

    `data`: the folder that relative paths start from. `facts`: what is remembered of files.
    """

    def __init__(self, data: Path, facts: FactCache) -> None:
        self._data, self._facts = data, facts
        self._corpora: dict[str, _Corpus] = {}
        self._suites: dict[tuple[str, ...], tuple[tuple[SuiteSource, ...], list[str]]] = {}

    def resolve(self, recipe: Recipe) -> Recipe:
        """The recipe with absolute paths, the digest of every file, and words in place of shares.

        Raises one InputError with every fault of the corpus and of the suites.
        """
        of = self._corpus(recipe.corpus)
        corpus = recipe.corpus.model_copy(update={"sources": tuple(one.source for one in of.found), "words": None})
        faults = list(of.faults)
        if of.usable:
            faults += [*_total_faults(recipe, of.found), *of.copies]
        if of.usable and not of.copies:  # a corpus of copies may have too little text to make a vocabulary of
            train = sum(one.words["train"] for one in of.found)
            unsupported = list(vocabulary_faults(corpus, recipe.tokenizer, train, self._facts))
            faults += [fault for fault in unsupported if not faults or fault.startswith("tokenizer.vocab_size")]
        suites, found = self._suites_of(recipe.evaluation.suites)
        faults += found
        self._facts.save()
        if faults:
            raise InputError(faults)
        evaluation = recipe.evaluation.model_copy(update={"suites": suites})
        return recipe.model_copy(update={"corpus": corpus, "evaluation": evaluation})

    def corpus_line(self, recipe: Recipe) -> str:
        """The train words of a recipe without faults by source, their sum and its budget, in one line."""
        words = {one.source.name: one.words["train"] for one in self._corpus(recipe.corpus).found}
        parts = " + ".join(f"{name} {count:,}" for name, count in words.items())
        budget = recipe.corpus.word_budget
        of = "no word budget" if budget is None else f"of a budget of {budget:,}"
        return f"train words: {parts}{f' = {sum(words.values()):,}' if len(words) > 1 else ''}, {of}"

    def _corpus(self, corpus: Corpus) -> _Corpus:
        name = corpus.model_dump_json()
        if name not in self._corpora:
            found = tuple(resolve_source(source, corpus, self._data, self._facts) for source in corpus.sources)
            usable = all(one.words.keys() == FILES.keys() for one in found)  # else what is not is named already
            faults = [fault for one in found for fault in one.faults]
            copies: list[str] = []
            if usable:
                for one in found:
                    faults += [] if one.faults else _document_faults(one, corpus.split_seed)
                copies = [*_copy_faults([one.source for one in found]), *_overlap_faults(found)]
            self._corpora[name] = _Corpus(found, usable, tuple(faults), tuple(copies))
        return self._corpora[name]

    def _suites_of(self, suites: Sequence[SuiteSource]) -> tuple[tuple[SuiteSource, ...], list[str]]:
        name = tuple(suite.model_dump_json() for suite in suites)
        if name not in self._suites:
            self._suites[name] = resolve_suites(suites, self._data, self._facts)
        return self._suites[name]


def resolve_recipe(recipe: Recipe, data: Path, cache: Path | None = None) -> Recipe:
    """One recipe, resolved. `cache`: JSON file that remembers what is known of files."""
    return Resolver(data, FactCache(cache)).resolve(recipe)


def _document_faults(found: Found, split_seed: int) -> Iterator[str]:
    """Train needs two documents, one of them for prompts, a held-out text one; only short texts can lack them."""
    locations = {content: Path(path) for content, path in source_locations(found.source).items()}
    for split in FILES:
        needed = 2 if split == "train" else 1
        if found.words[split] >= LONG_WORDS:
            continue
        documents = read_source(found.source, split, locations, split_seed)
        count = len(list(islice(documents, needed)))
        documents.close()
        if count < needed:
            yield (
                f"corpus source {found.source.name!r}: its {split} text of {found.words[split]} words is {count} "
                f"document(s), but {needed} are needed; give more text"
            )


def _total_faults(recipe: Recipe, sources: Sequence[Found]) -> Iterator[str]:
    """Rules for all sources together."""
    context, budget = recipe.model.context, recipe.corpus.word_budget
    for split in FILES:
        total = sum(one.words[split] for one in sources)
        if total < context:
            yield (
                f"corpus: the {split} files give {total} words, which is shorter than one block of "
                f"model.context={context} tokens; give more text or a shorter context"
            )
    total = sum(one.words["train"] for one in sources)
    if budget is not None and total > budget:
        yield (
            f"corpus.word_budget={budget} is exceeded: the train files give {total} words; "
            "lower the words of the sources or raise the budget"
        )


def _copy_faults(sources: Sequence[Source]) -> Iterator[str]:
    """One content under two names would vanish as duplicates, and leave a source or a split empty."""
    known: dict[str, str] = {}
    for source in sources:
        contents = _contents(source)
        if len({content for content, _ in contents}) < len(contents):
            yield f"corpus source {source.name!r}: two of its files are the same; leave one of them out"
        for content, name in dict(contents).items():
            if content in known:
                yield f"corpus: {known[content]} and {name} have the same content; leave one of them out"
            known[content] = name


def _contents(source: Source) -> list[tuple[str, str]]:
    """Digest and name of every text of a source."""
    if isinstance(source, MicroworldSource):
        return [(f"microworld {source.world_seed}", f"microworld source {source.name!r}")]
    if isinstance(source, FileSource):
        paths = {"train": source.train, "validation": source.validation, "test": source.test}
        return [
            (content, f"{Path(path).name} of {source.name!r}")
            for split, of in source.digests.items()
            for content, path in zip(of, paths[split], strict=True)
        ]
    return [(content, f"the {split} file of {source.name!r}") for split, content in source.digests.items()]


def _overlap_faults(sources: Sequence[Found]) -> Iterator[str]:
    """The same documents in other files or formats: one text would vanish as duplicates of the other.

    Texts with one content are named already. Few documents inside many (a small source that a large one holds whole)
    are beyond what sketches can tell; the corpus stage finds them.
    """
    for one, other in combinations(sources, 2):
        pairs = product(one.sketches.items(), other.sketches.items())
        yield from islice((fault for pair in pairs for fault in _overlap(one.source, other.source, *pair)), 1)


def _overlap(one: Source, other: Source, here: tuple[str, Sketch], there: tuple[str, Sketch]) -> Iterator[str]:
    """The fault of two texts that have the same documents."""
    (split, first), (second_split, second) = here, there
    if not first or not second or _same_content(one, split, other, second_split):
        return
    overlap = estimated_overlap(first, second)
    if overlap is not None and overlap > MOST_OVERLAP:
        yield (
            f"corpus: the {split} text of {one.name!r} and the {second_split} text of {other.name!r} have the same "
            f"documents (about {overlap:.0%} of the smaller one's, estimated); leave one of them out"
        )


def _same_content(one: Source, split: str, other: Source, there: str) -> bool:
    """True where both splits have a text with one digest."""
    if isinstance(one, MicroworldSource) or isinstance(other, MicroworldSource):
        return False
    found = (one.digests.get(split, ()), other.digests.get(there, ()))
    first, second = (of if isinstance(of, tuple) else (of,) for of in found)
    return bool(set(first) & set(second))
