"""Cross-entropy of a language model's head, without the logits of all tokens at once.

A block of rows at a time: its logits, its loss in fp32, and at once the gradients that the loss sends into the hidden
states and into the head, so nothing of size tokens x vocabulary is ever kept, and nothing is computed twice. (The idea
of Liger-Kernel's fused linear cross-entropy, Hsu et al. 2024, in plain torch.)
Shapes: N tokens, R rows of a block, H hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from transformers import LlamaForCausalLM

from ablab.models.llama import BOS

BLOCK_ELEMENTS = {"cpu": 1 << 20, "cuda": 1 << 26}
"""Logits of a block: what stays in a cache (4 MiB in fp32), or fills a GPU. Fixed, so that results follow from the
device."""
COMPILED_BLOCK_ELEMENTS = {"cpu": 1 << 22, "cuda": 1 << 26}
COMPILED_LEAST_ROWS = 256
"""Compiled, logits pass through a cache a row at a time; with few rows adding up the gradients of the head would cost
more than computing them."""

BlockLoss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor, torch.Tensor]]


class Head(torch.nn.Module):
    """A model's head that gives the loss of its tokens in place of their logits."""

    def __init__(self, weight_VH: torch.nn.Parameter) -> None:
        super().__init__()
        self.weight = weight_VH  # which may be the embedding
        self._compiled: BlockLoss | None = None

    def compile_blocks(self) -> None:
        """Compile with the first training step; all blocks but the last have one shape."""
        self._compiled = torch.compile(block_loss, fullgraph=True, dynamic=False)

    def forward(self, hidden_NH: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
        """While training the mean, fp32; in evaluation mode the sum, fp64, without gradients."""
        if self.training:
            return mean_loss(hidden_NH, self.weight, targets_N, self._compiled)
        return loss_sum(hidden_NH, self.weight, targets_N)


class LanguageModel(torch.nn.Module):
    """A causal model as one module that gives its loss, which is what DeepSpeed's hooks see."""

    def __init__(self, llama: LlamaForCausalLM, document_masks: bool = False) -> None:
        super().__init__()
        self._document_masks = document_masks
        llama.lm_head = Head(llama.lm_head.weight)
        self.llama = llama

    def forward(self, blocks: torch.Tensor) -> torch.Tensor:
        """Loss of blocks [B, T + 1], of which the first T tokens are read and the last T predicted (`Head`)."""
        tokens_BT = blocks[:, :-1]
        mask_B1TT = document_mask(tokens_BT) if self._document_masks else None
        hidden_BTH = self.llama.model(input_ids=tokens_BT, attention_mask=mask_B1TT, use_cache=False).last_hidden_state
        loss: torch.Tensor = self.llama.lm_head(hidden_BTH.flatten(0, 1), blocks[:, 1:].flatten())
        return loss


def document_mask(tokens_BT: torch.Tensor) -> torch.Tensor:
    """Which tokens each token may look at, bool [B, 1, T, T]: itself and those before it in its document.

    A document begins with <s>; one that was cut by the block's beginning goes on there. Positions are those of the
    block: rotary attention depends on distances alone, so they need not begin anew (as in Llama 3).
    """
    document_BT = (tokens_BT == BOS).cumsum(1)
    same_BTT = document_BT[:, :, None] == document_BT[:, None, :]
    return same_BTT.tril()[:, None]


def block_loss(
    hidden_RH: torch.Tensor, weight_VH: torch.Tensor, targets_R: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Sum of a block's cross-entropies (fp64), and its gradients for the hidden states [R, H] and the head [V, H]."""
    targets_R1 = targets_R[:, None]
    log_probs_RV = (hidden_RH @ weight_VH.T).float().log_softmax(1)
    picked_R1 = log_probs_RV.gather(1, targets_R1)
    total = -picked_R1.double().sum()
    # d sum / d logits = softmax - one-hot, written over the log-probabilities
    gradient_RV = log_probs_RV.exp_().scatter_add_(1, targets_R1, torch.full_like(picked_R1, -1.0))
    gradient_RV = gradient_RV.to(hidden_RH.dtype)
    return total, gradient_RV @ weight_VH, gradient_RV.T @ hidden_RH


def mean_loss(
    hidden_NH: torch.Tensor,
    weight_VH: torch.Tensor,
    targets_N: torch.Tensor,
    compiled: BlockLoss | None = None,
) -> torch.Tensor:
    """Mean cross-entropy in nats of the logits hidden x weight^T, in fp32; `compiled` is `block_loss` when it is."""
    if compiled:
        blocks = _blocks(hidden_NH, weight_VH, COMPILED_BLOCK_ELEMENTS, COMPILED_LEAST_ROWS)
    else:
        blocks = _blocks(hidden_NH, weight_VH, BLOCK_ELEMENTS)
    arguments = (hidden_NH, weight_VH, targets_N, compiled or block_loss, blocks)
    loss: torch.Tensor = _MeanLoss.apply(*arguments)  # type: ignore[no-untyped-call]
    return loss


def loss_sum(hidden_NH: torch.Tensor, weight_VH: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
    """Sum of the cross-entropies, each in fp32, added in fp64."""
    total = torch.zeros((), dtype=torch.float64, device=hidden_NH.device)
    for rows in _blocks(hidden_NH, weight_VH, BLOCK_ELEMENTS):
        logits_RV = (hidden_NH[rows] @ weight_VH.T).float()
        picked_R = logits_RV.gather(1, targets_N[rows, None]).squeeze(1)
        total += (logits_RV.logsumexp(1) - picked_R).double().sum()
    return total


class _MeanLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_NH: torch.Tensor,
        weight_VH: torch.Tensor,
        targets_N: torch.Tensor,
        block: BlockLoss,
        blocks: Iterator[slice],
    ) -> torch.Tensor:
        count = len(hidden_NH)
        total = torch.zeros((), dtype=torch.float64, device=hidden_NH.device)
        to_hidden_NH = torch.empty_like(hidden_NH)
        to_weight_VH = torch.zeros_like(weight_VH, dtype=torch.float32)
        for rows in blocks:
            block_total, to_hidden_NH[rows], to_weight = block(hidden_NH[rows], weight_VH, targets_N[rows])
            total += block_total
            to_weight_VH += to_weight
        ctx.save_for_backward(to_hidden_NH, to_weight_VH)
        ctx.count, ctx.dtype = count, weight_VH.dtype
        return (total / count).float()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        to_hidden_NH, to_weight_VH = ctx.saved_tensors
        # d mean / d sum, in fp32: one part of n micro-batches is no number of bf16
        gradient = gradient / ctx.count
        to_hidden = (to_hidden_NH.float() * gradient).to(to_hidden_NH.dtype)
        return to_hidden, (to_weight_VH * gradient).to(ctx.dtype), None, None, None


def _blocks(
    hidden_NH: torch.Tensor, weight_VH: torch.Tensor, elements: Mapping[str, int], least_rows: int = 1
) -> Iterator[slice]:
    count, size = len(hidden_NH), max(least_rows, elements[hidden_NH.device.type] // len(weight_VH))
    return (slice(first, min(first + size, count)) for first in range(0, count, size))
