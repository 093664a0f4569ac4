"""Rules for a corpus, and for the worlds that its suites ask about; without knowing any file."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ablab.spec.corpus import Corpus, FileSource, HubSource, MicroworldSource
from ablab.spec.recipe import Recipe
from ablab.spec.suites import MicroworldSuites

HUB_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
COMMIT = re.compile(r"[0-9a-f]{40}")


def corpus_faults(recipe: Recipe) -> Iterator[str]:
    """Names, worlds, shares, revisions and held-out parts of the sources."""
    names = [source.name for source in recipe.corpus.sources]
    for name in sorted({n for n in names if names.count(n) > 1}):
        yield f"corpus.sources: the name {name!r} occurs twice; every source needs its own"
    worlds = {s.world_seed for s in recipe.corpus.sources if isinstance(s, MicroworldSource)}
    yield from _share_faults(recipe.corpus)
    for suite in recipe.evaluation.suites:
        if isinstance(suite, MicroworldSuites) and worlds and suite.world_seed not in worlds:
            yield (
                f"evaluation.suites: world_seed={suite.world_seed} asks about another world than the corpus "
                f"(world_seed={', '.join(map(str, sorted(worlds)))}); use the same"
            )


def _share_faults(corpus: Corpus) -> Iterator[str]:
    """Shares are of `corpus.words`, in place of a source's own words, and make no more than the whole."""
    stated = [s for s in corpus.sources if not isinstance(s, MicroworldSource) and s.share is not None]
    for source in stated:
        if source.words is not None:
            yield (
                f"corpus source {source.name!r} states words={source.words} and share={source.share}; "
                "state one of them and set the other to null"
            )
    if stated and corpus.words is None:
        yield f"corpus source {stated[0].name!r} states share={stated[0].share}, but corpus.words is null; state it"
    total = sum(s.share or 0.0 for s in stated)
    if total > 1.0 + 1e-9:
        yield f"corpus: the shares of the sources make {total:g}, more than the whole; lower them to 1 together"
    if not stated and corpus.words is not None:
        yield f"corpus.words={corpus.words} is what shares are of, but no source states a share; state shares or null"
    for one in corpus.sources:
        if isinstance(one, HubSource):
            yield from _hub_faults(one)
        if isinstance(one, FileSource | HubSource):
            yield from _held_out_faults(one)


def _hub_faults(source: HubSource) -> Iterator[str]:
    folder = source.repo.startswith(("/", "./", "~"))
    if not folder and not HUB_REPO.fullmatch(source.repo):
        yield (
            f"corpus source {source.name!r}: repo={source.repo!r} must be organisation/name on the Hub, or a folder "
            "that begins with '/', './' or '~'"
        )
    elif not folder and (source.revision is None or not COMMIT.fullmatch(source.revision)):
        yield (
            f"corpus source {source.name!r}: the Hub dataset {source.repo} needs a revision, the 40 hexadecimal digits "
            f"of a commit, not {source.revision!r}: a branch moves; take it from the dataset's page (Files, History)"
        )


def _held_out_faults(source: FileSource | HubSource) -> Iterator[str]:
    lacking = [split for split in ("validation", "test") if not getattr(source, split)]
    if lacking and source.held_out_share is None:
        yield (
            f"corpus source {source.name!r} has no {' and no '.join(lacking)} text; name its files or splits, or set "
            "held_out_share (for example 0.05) to take it from train"
        )
