"""Decoding one shard: a fixed set of consecutive sequences, always with the decoder's full number of rows."""

# B rows, N new positions, S prompt positions, V vocabulary

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ablab.errors import RunError
from ablab.generate.decoder import Decoder
from ablab.generate.decoding import draw
from ablab.generate.draws import uniforms
from ablab.generate.shards import Shard
from ablab.generate.text import Vocabulary
from ablab.spec.synthetic import Decoding


@dataclass(frozen=True)
class Sampler:
    """What every shard of one corpus is sampled with."""

    good: Decoder
    bad: Decoder | None
    """None exactly when `decoding.strength` is 0."""
    decoding: Decoding
    prompts_PS: npt.NDArray[np.int64]
    """Sequence s continues prompt s mod P."""
    new_tokens: int
    seed: int
    vocabulary: Vocabulary

    def models(self) -> dict[str, Decoder]:
        return {"GOOD": self.good} if self.bad is None else {"GOOD": self.good, "BAD": self.bad}

    @torch.inference_mode()
    def shard(self, index: int, sequences: int, progress: Callable[[int], None]) -> Shard:
        """Sequences index x rows up to rows more, of which the first `sequences` are wanted.

        The last shard's spare rows decode the sequences that a larger corpus would hold. `progress` is called with
        the tokens of this shard that are done. Raises `RunError` on logits that are not finite.
        """
        rows, device = self.good.rows, self.good.device
        numbers_B = np.arange(index * rows, (index + 1) * rows)
        draws_BN = torch.from_numpy(uniforms(self.seed, numbers_B[:, None], np.arange(self.new_tokens))).to(device)
        prompts_BS = torch.from_numpy(self.prompts_PS[numbers_B % len(self.prompts_PS)]).to(device)
        trace = Trace(self, rows, device)
        sequences_B = torch.from_numpy(numbers_B).to(device)
        logits = {name: model.prefill(prompts_BS, sequences_B) for name, model in self.models().items()}
        for position in range(self.new_tokens):
            words_B = trace.sample(position, logits, draws_BN[:, position])
            progress((position + 1) * sequences)
            if position + 1 == self.new_tokens or trace.ended():
                break
            logits = {name: model.step(words_B) for name, model in self.models().items()}
        return trace.shard(index, sequences)


class Trace:
    """What one shard's decoding leaves behind, kept on the device until its end."""

    def __init__(self, sampler: Sampler, rows: int, device: torch.device) -> None:
        self.decoding, self.vocabulary = sampler.decoding, sampler.vocabulary
        shape = (rows, sampler.new_tokens)
        self.words_BN = torch.full(shape, self.vocabulary.pad, device=device)
        self.head_sizes_BN = torch.zeros(shape, dtype=torch.int64, device=device)
        self.changed_BN = torch.zeros(shape, dtype=torch.bool, device=device)
        self.sampled_BN = torch.zeros(shape, dtype=torch.bool, device=device)
        self.finite = {name: torch.ones(shape, dtype=torch.bool, device=device) for name in sampler.models()}
        self.live_B = torch.ones(rows, dtype=torch.bool, device=device)
        self.barred = torch.tensor(self.vocabulary.barred(sampler.good.shape.vocab_size), device=device)

    def sample(self, position: int, logits: dict[str, Tensor], draws_B: Tensor) -> Tensor:
        """The next word of every row; `<pad>` in rows that have stopped."""
        for name, logits_BV in logits.items():
            self.finite[name][:, position] = logits_BV.sum(dim=-1).isfinite()
        good_BV = logits["GOOD"].index_fill_(-1, self.barred, -math.inf)
        drawn = draw(good_BV, logits.get("BAD"), self.decoding, draws_B)
        words_B = torch.where(self.live_B, drawn.words_B, self.vocabulary.pad)
        self.words_BN[:, position] = words_B
        self.sampled_BN[:, position] = self.live_B
        self.head_sizes_BN[:, position] = drawn.head_sizes_B
        if drawn.changed_B is not None:
            self.changed_BN[:, position] = drawn.changed_B
        if self.decoding.stop_at_eos:
            self.live_B = self.live_B & (words_B != self.vocabulary.end)
        return words_B

    def ended(self) -> bool:
        return self.decoding.stop_at_eos and not bool(self.live_B.any())

    def shard(self, index: int, sequences: int) -> Shard:
        """The wanted rows and their counts. Raises `RunError` when any logits of theirs were not finite."""
        self._check_finite(index, sequences)
        sampled_SN = self.sampled_BN[:sequences]
        return Shard(
            index=index,
            words_SN=self.words_BN[:sequences].cpu().numpy(),
            sampled=int(sampled_SN.sum()),
            head_sizes=int((self.head_sizes_BN[:sequences] * sampled_SN).sum()),
            changed=int((self.changed_BN[:sequences] & sampled_SN).sum()),
            stopped=sequences - int(self.live_B[:sequences].sum()),
        )

    def _check_finite(self, index: int, sequences: int) -> None:
        for name, finite_BN in self.finite.items():
            faults: Sequence[Sequence[int]] = (~finite_BN[:sequences]).t().nonzero().tolist()
            if faults:
                step, row = faults[0]
                raise RunError(
                    f"{name}'s logits are not finite in shard {index}, sequence {index * len(finite_BN) + row}, "
                    f"step {step}",
                    "its checkpoint diverged or is damaged: lower the learning rate, select another step, or train "
                    "in fp32",
                )
