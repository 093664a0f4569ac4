"""TinyBabyLM as the study composes it (Ulm, Du & Snaebjarnarson 2025): about 100M words of four sources.

Gutenberg (about 27M words), Simple Wikipedia (15M) and OpenSubtitles (18M) come from the text release of BabyLM 2025
(three archives of one OSF project); TinyStories (40M, Eldan & Li 2023) comes from the Hugging Face Hub and stands where
CHILDES, BNC and Switchboard were. `ablab data fetch` brings them. Addresses, digests and sizes are as they were
published; the tests have no network and fetch none of them.

How it differs from the study, and why:
- It judges by the test files of BabyLM and the validation split of TinyStories, the only held-out one that TinyStories
  has. So do we, but checkpoints are selected on other text: the dev files, and 1 % of the train stories.
- It draws its stories at random; here they are the first that hold 40M words, as of every source that states words.
- The release's own figure for OpenSubtitles is about 20M words, the study's 18M: the first 18M are taken.
"""

from __future__ import annotations

from typing import Literal

from ablab.spec import Archive, BabyLMSource, Corpus, HubSource

RELEASE: dict[Literal["train", "validation", "test"], Archive] = {
    "train": Archive(
        url="https://osf.io/download/ywea7/",
        sha256="37a92db26f391e436febd592453084394d0c0830c8c9bdb30be781e440cdc826",
        folder="train_100M",
    ),
    "validation": Archive(
        url="https://osf.io/download/uyd7v/",
        sha256="b5af75aeb1ee5a36f65ee98f316fdae73b16a0ba3767cca3f3dfa5eaac2dc621",
        folder="dev",
    ),
    "test": Archive(
        url="https://osf.io/download/ftwu3/",
        sha256="12bd1c9c89f4f82156feb71b287d47f713429ee1292e938c6ab463a882816cef",
        folder="test",
    ),
}
"""The text release of BabyLM 2025 (https://osf.io/ryjfm/), by split."""


def tinybabylm() -> Corpus:
    """The corpus of the scale `paper`."""
    return Corpus(
        sources=(
            babylm("gutenberg"),
            babylm("simple_wiki"),
            babylm("open_subtitles", words=18_000_000),
            HubSource(
                name="tinystories",
                repo="roneneldan/TinyStories",
                revision="f54c09fd23315a6f9c86f9dc80f725de7d8f9c64",
                validation=None,
                test="validation",
                held_out_share=0.01,
                words=40_000_000,
                evaluation_words=None,
            ),
        ),
        seed_share=0.05,
        split_seed=1,
        word_budget=100_000_000,
    )


def babylm(name: str, words: int | None = None) -> BabyLMSource:
    """A source of the release, under `ABLAB_DATA/corpora/babylm-2025`."""
    return BabyLMSource(name=name, path="corpora/babylm-2025", words=words, evaluation_words=None, archives=RELEASE)
