"""`Corpus`: sources of text and their disjoint splits."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ablab.spec.base import EXECUTION, INERT, Name, Positive, Share, Spec

HeldOutShare = Annotated[float, Field(gt=0.0, lt=0.5)]


class MicroworldSource(Spec):
    """The built-in world (`ablab.corpora.microworld`): stories with ground truth."""

    kind: Literal["microworld"] = "microworld"
    name: Name = "microworld"
    world_seed: int
    words: Positive
    """Whitespace words of the train and seed splits together."""
    validation_words: Positive
    test_words: Positive


class Archive(Spec):
    """A zip archive on the web; `ablab data fetch` takes the files of a source from it."""

    url: str
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    folder: str
    """Folder inside the archive that holds the source's file."""


class BabyLMSource(Spec):
    """One source in the BabyLM layout: `<path>/{train,dev,test}/<name>.{train,dev,test}`, UTF-8 text."""

    kind: Literal["babylm"] = "babylm"
    name: Name
    path: str = Field(json_schema_extra=EXECUTION)
    """Absolute, or relative to `ABLAB_DATA`. Never hashed: the digests are."""
    words: Positive | None
    """First words of the train file to take (whole paragraph blocks); None takes all."""
    evaluation_words: Positive | None
    """The same for the dev and the test file."""
    digests: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of each file, by split; filled in by resolving."""
    share: Share | None = Field(default=None, json_schema_extra=INERT)
    """Share of `Corpus.words` in place of `words`; resolving works it out."""
    archives: dict[Literal["train", "validation", "test"], Archive] = Field(
        default_factory=dict, json_schema_extra=EXECUTION
    )
    """Where `ablab data fetch` finds the files, by split."""


class FileSource(Spec):
    """Files of one's own: plain text, JSON lines (.jsonl) or parquet, each also compressed (.gz, .bz2, .xz, .zst).

    Plain text is cut into documents as a file of the BabyLM layout is; a row of the others is a document.
    """

    kind: Literal["files"] = "files"
    name: Name
    train: tuple[str, ...] = Field(min_length=1, json_schema_extra=EXECUTION)
    """Files or patterns (`books/*.txt.gz`), absolute or relative to `ABLAB_DATA`, read in the order of their names."""
    validation: tuple[str, ...] = Field(default=(), json_schema_extra=EXECUTION)
    test: tuple[str, ...] = Field(default=(), json_schema_extra=EXECUTION)
    held_out_share: HeldOutShare | None = Field(default=None, json_schema_extra=INERT)
    """Share of the train documents that becomes validation, and as much again test, where no files are given."""
    text_field: str = Field(default="text", json_schema_extra=INERT)
    """Field of JSON lines, column of parquet."""
    words: Positive | None
    """First words of the train documents to take, whole documents, held-out ones left aside; None takes all."""
    evaluation_words: Positive | None
    """The same for validation and test."""
    digests: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """SHA-256 of the files of each split, in reading order; filled in by resolving."""
    formats: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Format of each of these files (`ablab.corpora.formats`), which its name tells; filled in by resolving."""
    share: Share | None = Field(default=None, json_schema_extra=INERT)
    """Share of `Corpus.words` in place of `words`; resolving works it out."""


class HubSource(Spec):
    """A dataset of the Hugging Face Hub at one commit, or one that `datasets` saved on disk.

    `ablab data fetch` brings it under `ABLAB_DATA/hub`; a run reads it there and needs no network.
    """

    kind: Literal["hub"] = "hub"
    name: Name
    repo: str = Field(json_schema_extra=EXECUTION)
    """`organisation/name`; or the folder of a dataset saved on disk, beginning with `/`, `./` or `~`."""
    revision: str | None = None
    """The 40 hexadecimal digits of a commit: a branch moves. None only for a folder."""
    config: Name | None = Field(default=None, json_schema_extra=INERT)
    """Configuration of the dataset, where it has several."""
    train: str = Field(default="train", json_schema_extra=INERT)
    """Name that the dataset gives its train split."""
    validation: str | None = Field(default="validation", json_schema_extra=INERT)
    test: str | None = Field(default="test", json_schema_extra=INERT)
    held_out_share: HeldOutShare | None = Field(default=None, json_schema_extra=INERT)
    """Share of the train documents that becomes each held-out split that the dataset lacks (None above)."""
    text_field: str = Field(default="text", json_schema_extra=INERT)
    words: Positive | None
    evaluation_words: Positive | None
    digests: dict[str, str] = Field(default_factory=dict)
    """SHA-256 over the documents of each split; filled in by resolving."""
    paths: dict[str, str] = Field(default_factory=dict, json_schema_extra=EXECUTION)
    """Where each split lies: a parquet file, or the folder of a saved split; filled in by resolving."""
    share: Share | None = Field(default=None, json_schema_extra=INERT)
    """Share of `Corpus.words` in place of `words`; resolving works it out."""


Source = Annotated[MicroworldSource | BabyLMSource | FileSource | HubSource, Field(discriminator="kind")]


class Corpus(Spec):
    """Sources and their disjoint splits. Validation and test come from the sources' own held-out parts."""

    sources: tuple[Source, ...] = Field(min_length=1)
    seed_share: Annotated[float, Field(gt=0.0, lt=1.0)]
    """Share of the documents of every source that is kept for generation prompts only (study: 0.05)."""
    split_seed: int
    word_budget: Positive | None = Field(json_schema_extra=EXECUTION)
    """Whitespace words that all train files together may hold at most; checked, None for no limit."""
    words: Positive | None = Field(default=None, json_schema_extra=INERT)
    """Words that the sources' shares are of; None where no source states a share."""
