"""Document masks: packed in one block, documents do not see each other."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from ablab.models.llama import BOS, EOS, initialise, llama_config
from ablab.spec.placement import Numerics
from ablab.spec.recipe import Model, Schedule
from ablab.store.context import StageContext
from ablab.train.loss import LanguageModel, document_mask
from ablab.train.stage import train

MakeContext = Callable[..., StageContext]
VOCABULARY = 32
SHAPE = Model(layers=2, hidden=16, heads=2, ffn=32, context=24)


def document(seed: int, words: int) -> list[int]:
    inside = np.random.default_rng(seed).integers(4, VOCABULARY, words).tolist()
    return [BOS, *inside, EOS]


DOCUMENTS = [document(1, 5), document(2, 1), document(3, 11)]


def hidden_states(module: LanguageModel, tokens: list[int], masked: bool) -> torch.Tensor:
    rows = torch.tensor([tokens])
    mask = document_mask(rows) if masked else None
    found: torch.Tensor = module.llama.model(input_ids=rows, attention_mask=mask, use_cache=False).last_hidden_state[0]
    return found.detach()


def test_logits_of_packed_documents_are_those_of_each_alone() -> None:
    module = LanguageModel(initialise(llama_config(SHAPE, VOCABULARY), 1))
    head = module.llama.lm_head.weight.detach()
    for parameter in module.parameters():
        parameter.data *= 10.0  # attention that is not nearly even, so a leak would show
    packed = [token for one in DOCUMENTS for token in one]
    alone = torch.cat([hidden_states(module, one, masked=False) for one in DOCUMENTS]) @ head.T
    masked, open_ = (hidden_states(module, packed, masked=masked) @ head.T for masked in (True, False))
    assert torch.allclose(masked, alone, atol=1e-5 * float(alone.abs().max()))
    assert not torch.allclose(open_, alone, atol=1e-2 * float(alone.abs().max()))


def test_a_document_that_was_cut_by_its_block_is_a_document_of_its_own() -> None:
    rest, next_ = [7, 8, EOS], document(4, 2)
    mask = document_mask(torch.tensor([rest + next_]))[0, 0]
    assert mask[:3, :3].tolist() == torch.ones(3, 3, dtype=torch.bool).tril().tolist()
    assert mask[3:, 3:].tolist() == torch.ones(4, 4, dtype=torch.bool).tril().tolist()
    assert not mask[3:, :3].any()
    assert not mask[:3, 3:].any()


@pytest.mark.parametrize("training", [True, False])
def test_training_and_validation_loss_are_those_of_the_documents_apart(training: bool) -> None:
    """But for the step over a boundary, where </s> predicts <s>, as it does without masks."""
    module = LanguageModel(initialise(llama_config(SHAPE, VOCABULARY), 1), document_masks=True).train(training)
    packed = [token for one in DOCUMENTS for token in one] + [BOS]
    found = float(module(torch.tensor([packed])).detach())
    total = 0.0
    for one in DOCUMENTS:
        logits = hidden_states(module, one, masked=False) @ module.llama.lm_head.weight.T
        total += float(torch.nn.functional.cross_entropy(logits, torch.tensor([*one[1:], BOS]), reduction="sum"))
    assert found == pytest.approx(total / (len(packed) - 1) if training else total, rel=1e-5)


def test_masks_change_what_is_trained_and_are_off_by_default(
    make_context: MakeContext, trained: tuple[StageContext, dict[str, Any]]
) -> None:
    ctx = make_context(schedule={"document_masks": True})
    assert Schedule.model_validate(ctx.params["schedule"]).canonical()["document_masks"] is True
    assert "document_masks" not in Schedule.model_validate(make_context().params["schedule"]).canonical()
    train(ctx)
    checkpointed = make_context(
        schedule={"document_masks": True}, numerics=Numerics(activation_checkpointing=True, zero_stage=2)
    )
    train(checkpointed)
    assert losses(checkpointed) == pytest.approx(losses(ctx), abs=1e-5)
    assert losses(ctx) != losses(trained[0])


def losses(ctx: StageContext) -> list[Any]:
    return [json.loads(line)["train_loss_nats"] for line in (ctx.out / "curves.jsonl").read_text().splitlines()]
