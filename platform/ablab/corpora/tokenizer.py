"""The tokenizer: byte-level BPE (Sennrich et al. 2016; byte alphabet of Radford et al. 2019).

Encoding adds `<s>` in front and nothing behind. What is saved loads with `PreTrainedTokenizerFast.from_pretrained`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from ablab.errors import RunError
from ablab.spec.recipe import Tokenizer as TokenizerSpec

UNK, BOS, EOS, PAD = 0, 1, 2, 3
SPECIALS = ("<unk>", "<s>", "</s>", "<pad>")  # their ids are their places


def train_bpe(spec: TokenizerSpec, texts: Iterable[list[str]]) -> Tokenizer:
    """Train on batches of documents. Equal texts in an equal order give an equal tokenizer, whatever the threads.

    Raises RunError when the texts do not support the vocabulary size.
    """
    tokenizer = grow_bpe(spec, texts)
    size = tokenizer.get_vocab_size()
    if size != spec.vocab_size:
        raise RunError(
            f"tokenizer.vocab_size={spec.vocab_size} is more than the train split supports ({size} entries)",
            f"set it to {size} or less, or give the corpus more words",
        )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{SPECIALS[BOS]} $A",
        pair=f"{SPECIALS[BOS]} $A $B:1",
        special_tokens=[(SPECIALS[BOS], BOS)],
    )
    return tokenizer


def grow_bpe(spec: TokenizerSpec, texts: Iterable[list[str]]) -> Tokenizer:
    """A BPE of `vocab_size` entries, or of as many as the texts support."""
    tokenizer = Tokenizer(models.BPE(unk_token=SPECIALS[UNK]))
    if spec.normalization == "NFKC":
        tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=spec.vocab_size,
        special_tokens=list(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def save(tokenizer: Tokenizer, directory: Path) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json`."""
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": SPECIALS[UNK],
        "bos_token": SPECIALS[BOS],
        "eos_token": SPECIALS[EOS],
        "pad_token": SPECIALS[PAD],
        "clean_up_tokenization_spaces": False,
    }
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    (directory / "tokenizer_config.json").write_text(text, encoding="utf-8")


def load(directory: Path) -> Tokenizer:
    """The tokenizer of a tokenizer directory, as the `tokenizers` library has it."""
    return Tokenizer.from_file(str(directory / "tokenizer.json"))


def encode_documents(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    """Every text as `<s> ... </s>`. A special token that is spelled out in a text is encoded as the text it is."""
    tokenizer.encode_special_tokens = True
    return [[*encoding.ids, EOS] for encoding in tokenizer.encode_batch_fast(texts)]
