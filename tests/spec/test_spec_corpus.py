"""What a corpus may declare: shares, revisions, held-out parts; and what is identity of it."""

from __future__ import annotations

from typing import Any

import pytest

from ablab.spec import Recipe, Replicate, edit, lower
from ablab.spec.check import recipe_faults
from experiments.scales import tiny

REPLICATE = Replicate(train_seed=42, generation_seed=1)
FILES: dict[str, Any] = {
    "kind": "files",
    "name": "mine",
    "train": ["a.txt"],
    "held_out_share": 0.1,
    "words": None,
    "evaluation_words": None,
}
HUB: dict[str, Any] = {
    "kind": "hub",
    "name": "stories",
    "repo": "someone/stories",
    "revision": "a" * 40,
    "test": None,
    "held_out_share": 0.05,
    "words": 1_000,
    "evaluation_words": None,
}


def corpus(*sources: dict[str, Any], words: int | None = None) -> Recipe:
    return edit(tiny(), {"corpus.sources": list(sources), "corpus.words": words})


def test_a_sound_corpus_of_files_and_hub_has_no_fault() -> None:
    assert recipe_faults(corpus(FILES, HUB)) == []
    shared = corpus({**FILES, "share": 0.25}, {**HUB, "words": None, "share": 0.75}, words=1_000)
    assert recipe_faults(shared) == []
    assert recipe_faults(corpus({**HUB, "repo": "./saved", "revision": None})) == []


@pytest.mark.parametrize(
    ("sources", "words", "expected"),
    [
        ([{**HUB, "revision": None}], None, "needs a revision"),
        ([{**HUB, "revision": "main"}], None, "not 'main': a branch moves"),
        ([{**HUB, "repo": "stories"}], None, "must be organisation/name"),
        ([{**HUB, "repo": "../up/one"}], None, "must be organisation/name"),
        ([{**HUB, "held_out_share": None}], None, "has no test text"),
        ([{**FILES, "held_out_share": None}], None, "has no validation and no test text"),
        ([{**FILES, "share": 0.5}], None, "corpus.words is null"),
        ([{**HUB, "share": 0.5}], 1_000, "words=1000 and share=0.5; state one of them"),
        ([{**FILES, "share": 0.5}, {**HUB, "words": None, "share": 0.6}], 1_000, "make 1.1, more than the whole"),
        ([FILES], 1_000, "no source states a share"),
        ([FILES, FILES], None, "the name 'mine' occurs twice"),
    ],
)
def test_bad_corpora_are_refused_with_rule_value_and_remedy(
    sources: list[dict[str, Any]], words: int | None, expected: str
) -> None:
    found = recipe_faults(corpus(*sources, words=words))
    assert any(expected in fault for fault in found), found


def test_where_text_comes_from_is_no_identity_but_what_it_is_is() -> None:
    def key(source: dict[str, Any]) -> str:
        return lower(corpus(source), REPLICATE).roles["corpus"].key

    here = {**FILES, "digests": {"train": ["1" * 64]}}
    assert key(here) == key({**here, "train": ["/elsewhere/b.txt"]})
    assert key(here) != key({**here, "digests": {"train": ["2" * 64]}})
    saved = {**HUB, "digests": {"train": "1" * 64}, "paths": {"train": "/here"}}
    assert key(saved) == key({**saved, "repo": "other/mirror", "paths": {"train": "/there"}})
    assert key(saved) != key({**saved, "digests": {"train": "2" * 64}})


def test_locations_lead_from_digests_to_files() -> None:
    source = {**FILES, "train": ["/a.txt", "/b.txt"], "digests": {"train": ["1" * 64, "2" * 64]}}
    saved = {**HUB, "digests": {"train": "3" * 64}, "paths": {"train": "/hub/x/train.parquet"}}
    found = lower(corpus(source, saved), REPLICATE).roles["corpus"].locations
    assert found == {"1" * 64: "/a.txt", "2" * 64: "/b.txt", "3" * 64: "/hub/x/train.parquet"}
