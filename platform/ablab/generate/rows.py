"""Which sequence of a shard each row decodes, and how far it is. A row that is done takes the next one at once."""

# B rows, Q sequences of the shard, R rows that begin, S prompt positions, U prompts read

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ablab.generate.decoder import Decoder


class Rows:
    """The state of a shard's decoding on the host. Sequences are numbered within the shard; a row that has none left
    is at rest and counts as sequence Q.
    """

    def __init__(
        self,
        models: Mapping[str, Decoder],
        numbers_Q: npt.NDArray[np.int64],
        prompts_PS: npt.NDArray[np.int64],
        uniforms_QN: Tensor,
    ) -> None:
        """Reads all prompts and begins with the first sequences. All but a prompt's last word are read: that word is
        what the first step is given, so that a step gives the logits of rows that begin and of rows that go on."""
        first = next(iter(models.values()))
        self.models, self.count, self.device = models, len(numbers_Q), first.device
        self.numbers_Q = torch.from_numpy(numbers_Q).to(self.device)
        self.uniforms_QN = torch.nn.functional.pad(uniforms_QN, (0, 0, 0, 1)).to(self.device)  # and one row at rest
        own_Q = numbers_Q % len(prompts_PS)
        prompts_QS = torch.from_numpy(prompts_PS[own_Q]).to(self.device)
        self.last_words_Q = prompts_QS[:, -1]
        self.readings = {name: self._read(model, own_Q, prompts_QS[:, :-1]) for name, model in models.items()}
        self.sequences = [self.count] * first.rows
        self.steps = [0] * first.rows
        self.following = 0
        self.words_B = torch.zeros(first.rows, dtype=torch.int64, device=self.device)
        self._begin(list(range(first.rows)))

    def _read(self, model: Decoder, own_Q: npt.NDArray[np.int64], prompts_QS: Tensor) -> tuple[Tensor, Tensor]:
        """Readings, and which of them each sequence continues: one per prompt, or per sequence with dropout."""
        if model.dropout is not None:
            return model.read(prompts_QS, self.numbers_Q), torch.arange(self.count, device=self.device)
        _, first_U, owners_Q = np.unique(own_Q, return_index=True, return_inverse=True)
        firsts_U = torch.from_numpy(first_U).to(self.device)
        return model.read(prompts_QS[firsts_U], self.numbers_Q[firsts_U]), torch.from_numpy(owners_Q).to(self.device)

    def _begin(self, rows: list[int]) -> None:
        """The next sequences into these rows; the rows that none is left for come to rest."""
        begin, rest = rows[: self.count - self.following], rows[self.count - self.following :]
        for row in rows:
            self.sequences[row], self.steps[row] = min(self.following, self.count), 0
            self.following += 1
        if begin:
            taken_R = torch.tensor([self.sequences[row] for row in begin], device=self.device)
            for name, model in self.models.items():
                reading_L2UKSD, owners_Q = self.readings[name]
                model.begin(begin, reading_L2UKSD, owners_Q[taken_R], self.numbers_Q[taken_R])
            self.words_B[torch.tensor(begin, device=self.device)] = self.last_words_Q[taken_R]
        for model in self.models.values():
            model.rest(rest)

    def places(self) -> tuple[Tensor, Tensor]:
        """int64 [B] twice: the sequence of every row, and its step."""
        return torch.tensor(self.sequences, device=self.device), torch.tensor(self.steps, device=self.device)

    def steps_below(self, sequences: int) -> int:
        """Words sampled of those of the first `sequences` that are under way."""
        return sum(step for step, sequence in zip(self.steps, self.sequences, strict=True) if sequence < sequences)

    def take(self, words_B: Tensor, ended: list[int]) -> None:
        """Words just sampled; rows whose sequence has `ended` with them begin the next."""
        self.words_B = words_B.clone() if ended else words_B
        for row in range(len(self.steps)):
            self.steps[row] += self.sequences[row] < self.count
        if ended:
            self._begin(ended)
