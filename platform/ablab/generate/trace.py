"""What one shard's decoding leaves behind, kept on the device until its end."""

# B rows, Q sequences of the shard (and one more, which rows at rest count as), N new positions

from __future__ import annotations

import torch
from torch import Tensor

from ablab.errors import RunError
from ablab.generate.decoding import Draw
from ablab.generate.shards import Shard


class Trace:
    """Words and counts of every sequence and step."""

    def __init__(self, sequences: int, new_tokens: int, pad: int, device: torch.device) -> None:
        shape = (sequences + 1, new_tokens)
        self.words_QN = torch.full(shape, pad, device=device)
        self.sampled_QN = torch.zeros(shape, dtype=torch.bool, device=device)
        self.head_sizes_QN = torch.zeros(shape, dtype=torch.int32, device=device)
        self.changed_QN = torch.zeros(shape, dtype=torch.bool, device=device)
        self.kl_QN = torch.full(shape, torch.nan, dtype=torch.float64, device=device)
        self.finite_QN = {name: torch.ones(shape, dtype=torch.bool, device=device) for name in ("GOOD", "BAD")}

    def add(self, places: tuple[Tensor, Tensor], drawn: Draw) -> None:
        """One step of all rows at (sequence, step)."""
        self.words_QN[places] = drawn.words_B
        self.sampled_QN[places] = True
        self.head_sizes_QN[places] = drawn.head_sizes_B.int()
        self.finite_QN["GOOD"][places] = drawn.good_finite_B
        if drawn.changed_B is not None and drawn.bad_finite_B is not None:
            self.changed_QN[places] = drawn.changed_B
            self.finite_QN["BAD"][places] = drawn.bad_finite_B
        if drawn.kl_B is not None:
            self.kl_QN[places] = drawn.kl_B

    def shard(self, index: int, before: int, sequences: int, end: int | None) -> Shard:
        """The first `sequences` and their counts; `before` is the number of the first, `end` the word that stops.

        Raises `RunError` when any logits of theirs were not finite.
        """
        self._check_finite(index, before, sequences)
        words_SN = self.words_QN[:sequences]
        sampled_SN = self.sampled_QN[:sequences]
        measured_SN = sampled_SN & ~self.kl_QN[:sequences].isnan()
        return Shard(
            index=index,
            words_SN=words_SN.cpu().numpy(),
            sampled_N=sampled_SN.sum(dim=0).tolist(),
            head_sizes_N=(self.head_sizes_QN[:sequences] * sampled_SN).sum(dim=0).tolist(),
            changed_N=(self.changed_QN[:sequences] & sampled_SN).sum(dim=0).tolist(),
            kl_sums_N=self.kl_QN[:sequences].where(measured_SN, 0.0).sum(dim=0).tolist(),
            kl_counts_N=measured_SN.sum(dim=0).tolist(),
            stopped=0 if end is None else int((words_SN == end).any(dim=1).sum()),
        )

    def _check_finite(self, index: int, before: int, sequences: int) -> None:
        for name, finite_QN in self.finite_QN.items():
            faults: list[list[int]] = (~finite_QN[:sequences]).t().nonzero().tolist()
            if faults:
                step, sequence = faults[0]
                raise RunError(
                    f"{name}'s logits are not finite in shard {index}, sequence {before + sequence}, step {step}",
                    "its checkpoint diverged or is damaged: lower the learning rate, select another step, or train "
                    "in fp32",
                )
