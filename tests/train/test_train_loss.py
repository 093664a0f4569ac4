"""The loss of a head without its logits: as cross-entropy computes it, in blocks, never all tokens x vocabulary."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode

from ablab.models.llama import initialise, llama_config
from ablab.spec.recipe import Model
from ablab.train import loss as losses
from ablab.train.loss import BlockLoss, LanguageModel, block_loss, loss_sum, mean_loss

TOKENS, HIDDEN, VOCABULARY = 37, 8, 50


def drawn(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(TOKENS, HIDDEN, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(VOCABULARY, HIDDEN, generator=generator).to(dtype).requires_grad_()
    return hidden, weight, torch.randint(0, VOCABULARY, (TOKENS,), generator=generator)


def gradients(value: torch.Tensor, *of: torch.Tensor) -> list[torch.Tensor]:
    return [one.float() for one in torch.autograd.grad(value / 3, of)]  # as for one of three micro-batches


@pytest.mark.parametrize("compiled", [None, block_loss])  # compiled, blocks have another size
@pytest.mark.parametrize("rows", [1, 5, 37, 100])
@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-5), (torch.bfloat16, 4e-3)])
def test_loss_and_gradients_are_those_of_cross_entropy_whatever_the_block(
    dtype: torch.dtype, near: float, rows: int, compiled: BlockLoss | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BLOCK_ELEMENTS", "COMPILED_BLOCK_ELEMENTS"):
        monkeypatch.setattr(losses, name, {"cpu": rows * VOCABULARY})
    monkeypatch.setattr(losses, "COMPILED_LEAST_ROWS", 3)
    hidden, weight, targets = drawn(dtype)
    expected = cross_entropy((hidden @ weight.T).float(), targets)
    found = mean_loss(hidden, weight, targets, compiled)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected.item(), abs=near)
    for one, other in zip(gradients(found, hidden, weight), gradients(expected, hidden, weight), strict=True):
        assert (one - other).norm() < 2 * near * other.norm()
    with torch.no_grad():
        assert loss_sum(hidden, weight, targets).item() / TOKENS == pytest.approx(expected.item(), abs=near)


class Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Remembers the size of the largest tensor that any operation made."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.elements = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for one in made if isinstance(made, tuple | list) else [made]:
            if isinstance(one, torch.Tensor):
                self.elements = max(self.elements, one.numel())
        return made


def test_nothing_as_large_as_tokens_times_vocabulary_is_ever_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "BLOCK_ELEMENTS", {"cpu": 4 * VOCABULARY})
    hidden, weight, targets = drawn(torch.float32)
    with Largest() as plain:
        cross_entropy(hidden @ weight.T, targets).backward()  # type: ignore[no-untyped-call]
    with Largest() as blocks:
        mean_loss(hidden, weight, targets).backward()  # type: ignore[no-untyped-call]
        loss_sum(hidden.detach(), weight.detach(), targets)
    assert plain.elements == TOKENS * VOCABULARY
    assert blocks.elements == VOCABULARY * HIDDEN < TOKENS * VOCABULARY


@pytest.mark.parametrize("tied", [False, True])
def test_a_model_gives_the_loss_of_its_own_logits(tied: bool) -> None:
    shape = Model(layers=1, hidden=16, heads=2, ffn=16, context=8, tied_embeddings=tied)
    reference = initialise(llama_config(shape, 40), 1)
    model = LanguageModel(initialise(llama_config(shape, 40), 1))
    blocks = torch.randint(0, 40, (3, 9), generator=torch.Generator().manual_seed(2))
    expected = cross_entropy(reference(blocks[:, :-1]).logits.flatten(0, 1), blocks[:, 1:].flatten())
    expected.backward()  # type: ignore[no-untyped-call]
    found = model(blocks)
    found.backward()
    assert found.item() == pytest.approx(expected.item(), abs=1e-6)
    ours = {name.removeprefix("llama."): parameter.grad for name, parameter in model.named_parameters()}
    theirs = {name: parameter.grad for name, parameter in reference.named_parameters()}
    assert ours.keys() == theirs.keys()
    for name, gradient in theirs.items():
        assert gradient is not None
        assert torch.allclose(ours[name], gradient, atol=1e-6), name  # type: ignore[arg-type]
    model.eval()
    with torch.no_grad():
        assert model(blocks).item() / 24 == pytest.approx(expected.item(), abs=1e-6)
