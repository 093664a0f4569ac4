"""A vocabulary that the corpus does not support is found before anything is computed, where it can be: small corpora.

BPE makes no entry once no pair of symbols is left to merge. A text of fewer than `WORDS_PER_ENTRY` words for each
entry may be too small, so it is tried; the tokenizer of so small a text is trained in seconds, and what came of it is
remembered by content.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ablab.corpora.dedup import train_texts
from ablab.corpora.filecheck import FactCache
from ablab.errors import RunError
from ablab.spec.canonical import digest
from ablab.spec.corpus import Corpus
from ablab.spec.lower import source_locations
from ablab.spec.recipe import Tokenizer

WORDS_PER_ENTRY = 50


def vocabulary_faults(corpus: Corpus, tokenizer: Tokenizer, words: int, facts: FactCache) -> Iterator[str]:
    """Whether the train split of a resolved corpus of `words` words supports the vocabulary."""
    wanted = tokenizer.vocab_size
    if words >= WORDS_PER_ENTRY * wanted:
        return
    content = digest([corpus.canonical(), tokenizer.normalization])
    try:
        found = facts.of_content(f"vocabulary:{content}:{wanted}", lambda: {"size": _largest(corpus, tokenizer)})
    except RunError as error:  # too few documents once duplicates are removed
        yield str(error).replace("\n", "; ")
        return
    if found["size"] < wanted:
        yield (
            f"tokenizer.vocab_size={wanted} is more than the corpus supports ({found['size']} entries from {words} "
            f"train words); set it to {found['size']} or less, or give the corpus more words"
        )


def _largest(corpus: Corpus, tokenizer: Tokenizer) -> int:
    """Entries of the tokenizer that the tokenizer stage would make, at most those wanted."""
    from ablab.corpora.tokenizer import grow_bpe  # here, so that planning a large corpus imports no tokenizers

    locations = {content: Path(path) for one in corpus.sources for content, path in source_locations(one).items()}
    return int(grow_bpe(tokenizer, [train_texts(corpus, locations)]).get_vocab_size())
