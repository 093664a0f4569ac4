"""lm-eval with ablab's models: `python -m ablab.evaluate.lm_eval --model ablab --model_args pretrained=DIR ...`.

lm-eval finds models in its own package alone, so this module registers ours and hands over to lm-eval's command.
`pretrained` is a training in the store, or any folder with the `config.json` and `model.safetensors` of a plain Llama.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from lm_eval.__main__ import cli_evaluate
from lm_eval.api.instance import Instance
from lm_eval.api.registry import register_model
from lm_eval.models.huggingface import HFLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from transformers import PreTrainedTokenizerFast

from ablab.corpora import tokenizer as bpe
from ablab.corpora.requests import Query, Speller
from ablab.errors import AblabError, InputError, RunError
from ablab.evaluate.neural import NeuralScorer
from ablab.models.llama import CONFIG, load_checkpoint

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
TOKENIZER = "tokenizer.json"


class AblabLM(HFLM):  # type: ignore[misc]
    """Completions and whole texts as ablab scores them; greedy text is lm-eval's own over our model."""

    def __init__(self, scorer: NeuralScorer, tokenizer: Path, rows: int) -> None:
        model, words = scorer.model, bpe.load(tokenizer)
        if words.get_vocab_size() != model.config.vocab_size:
            raise InputError(
                f"the tokenizer {tokenizer} has {words.get_vocab_size()} entries, but the model's vocabulary has "
                f"{model.config.vocab_size}; give the tokenizer that the model was trained with"
            )
        fast = PreTrainedTokenizerFast.from_pretrained(tokenizer)
        context = int(model.config.max_position_embeddings)
        super().__init__(pretrained=model, tokenizer=fast, batch_size=rows, max_length=context, add_bos_token=True)
        self._speller = Speller(words)
        self._scorer = scorer

    def loglikelihood(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Sums in nats, and whether greedy decoding would say the same. Nothing is cut off: a long text is an error."""
        del disable_tqdm  # there is no bar
        queries = [query for (query,) in self._speller.texts([request.args for request in requests])]
        for request, query in zip(requests, queries, strict=True):
            where = f"{request.task_name}: document {request.doc_id}, request {request.idx}"
            if query.first == len(query.tokens):
                raise RunError(f"{where}: the tokenizer leaves no token of the completion", "leave the task out")
            if len(query.tokens) > self._scorer.context:
                raise RunError(
                    f"{where} has {len(query.tokens)} tokens, but the model's context is {self._scorer.context} tokens",
                    "use a model with a longer context, fewer shots, or leave the task out",
                )
        return self._scorer.answers(queries)

    def loglikelihood_rolling(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[float]:
        """Sums in nats over whole texts behind `<s>`; a text longer than the context is scored window by window.

        lm-eval's own method would put a second `<s>` in front and score the first.
        """
        del disable_tqdm
        windows = [list(self._windows(request.args[0])) for request in requests]
        scores = iter(self._scorer.completions([query for of_text in windows for query in of_text]))
        return [math.fsum(next(scores) for _ in of_text) for of_text in windows]

    def _windows(self, text: str) -> Iterator[Query]:
        ((query,),) = self._speller.texts([("", text)])
        start, *tokens = query.tokens
        windows = get_rolling_token_windows(tokens, start, self._scorer.context, context_len=1)
        for before, scored in map(make_disjoint_window, windows):
            yield Query((*before, *scored), len(before))


@register_model("ablab")
class AblabFolder(AblabLM):
    """`AblabLM` from a folder, as `--model_args` names it.

    pretrained: a training of the store (`step` chooses the checkpoint, the last one otherwise), or a checkpoint.
    tokenizer: its folder; found by itself beside the model, and for a training of the store. precision: fp32 or bf16.
    """

    def __init__(
        self,
        pretrained: str,
        tokenizer: str | None = None,
        step: int | None = None,
        precision: str = "fp32",
        device: str | None = None,
        batch_size: int | str = 64,
        max_batch_size: int | None = None,
    ) -> None:
        del max_batch_size  # trees of texts have their own measure (`ablab.evaluate.tree`)
        if precision not in DTYPES:
            raise InputError(f"precision={precision!r} must be fp32 or bf16")
        if not str(batch_size).isdigit():
            raise InputError(f"batch_size={batch_size!r} must be a number, for example 64")
        folder = Path(pretrained)
        place = (device or "cuda") if torch.cuda.is_available() else "cpu"  # lm-eval's own default is cuda:0
        model = load_checkpoint(checkpoint_of(folder, step), dtype=DTYPES[precision], device=place)
        rows = int(batch_size)
        super().__init__(NeuralScorer(model, rows), tokenizer_of(folder, tokenizer), rows)


def checkpoint_of(folder: Path, step: int | None) -> Path:
    """The folder of weights. Raises `InputError` naming the steps that are there."""
    if (folder / CONFIG).is_file():
        return folder
    there = {int(path.name.removeprefix("step-")): path for path in folder.glob("checkpoints/step-*")}
    if not there:
        raise InputError(f"pretrained={folder} holds neither {CONFIG} nor checkpoints; give a model's folder")
    chosen = max(there) if step is None else step
    if chosen not in there:
        raise InputError(f"step={step} is not among the checkpoints of {folder}: {', '.join(map(str, sorted(there)))}")
    return there[chosen]


def tokenizer_of(folder: Path, given: str | None) -> Path:
    """The tokenizer that is named, that lies beside the model, or that the store says it was trained with."""
    if given is None:
        stage = folder
        for kind in ("tokens", "tokenizer"):  # a training's tokens were made with it
            if (stage / "stage.json").is_file():
                inputs = json.loads((stage / "stage.json").read_text(encoding="utf-8"))["inputs"]
                stage = folder.parent.parent / kind / inputs.get(kind, "")
    found = Path(given) if given is not None else stage
    if not (found / TOKENIZER).is_file():
        raise InputError(f"{found} holds no {TOKENIZER}; name the folder of the model's tokenizer with tokenizer=DIR")
    return found


def main() -> int:
    """lm-eval's own command, which now knows `--model ablab`."""
    try:
        cli_evaluate()
    except AblabError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
