"""Decoder layers and loss of a model in training, compiled by torch (Inductor), where that pays (`ablab.models.size`).

All layers have one shape, so one is compiled and serves for all. Validation runs everything as it is: other shapes
would be compiled anew, and its results stay those of an uncompiled training with equal weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch._dynamo.exc import TorchDynamoException
from torch._inductor.exc import InductorError

from ablab.errors import RunError
from ablab.train.loss import LanguageModel


def compile_model(module: LanguageModel) -> None:
    """Compile with the first training step. Whatever cannot be compiled is an error then, never left uncompiled."""
    torch._dynamo.reset()
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    torch._inductor.config.fx_graph_cache = False  # its entries are pickles; compiled kernels are kept all the same
    torch._functorch.config.enable_autograd_cache = False
    for layer in module.llama.model.layers:
        layer.compile(fullgraph=True, dynamic=False)
    module.llama.lm_head.compile_blocks()


@contextmanager
def uncompiled() -> Iterator[None]:
    """Everything runs as it is, compiled or not."""
    with torch.compiler.set_stance("force_eager"):
        yield


@contextmanager
def telling_what_did_not_compile() -> Iterator[None]:
    """Turns what compiling raises into a `RunError` with the remedy."""
    try:
        yield
    except (TorchDynamoException, InductorError) as error:
        cause = str(error).strip().splitlines()[0]
        raise RunError(f"the model could not be compiled: {cause}", "train with --numerics compile=never") from error
