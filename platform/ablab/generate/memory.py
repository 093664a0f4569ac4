"""Large arrays for decoding."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


def zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A tensor of zeros that is read again and again from end to end.

    On a CPU NumPy allocates it: of large arrays NumPy asks Linux for huge pages, which torch does not, and decoding
    reads its caches about a quarter faster for it (measured: docs/journal.md).
    """
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    size = math.prod(shape) * dtype.itemsize
    return torch.from_numpy(np.zeros(size, np.uint8)).view(dtype).view(shape)
