"""Spikes kept as bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Packed:
    """The spikes of one call of a neuron, as bits that are kept anyway.

    Attributes:
        bits: `[rows, N, *]` uint8.
        steps: T.
        unpack: (bits, steps, dtype) to the spikes `[T, N, *]`.
    """

    bits: Tensor
    steps: int
    unpack: Callable[[Tensor, int, torch.dtype], Tensor]

    def spikes(self, bits: Tensor, dtype: torch.dtype) -> Tensor:
        """The spikes again, `[T*N, *]`; `bits` are its own, as autograd hands them back."""
        return self.unpack(bits, self.steps, dtype).flatten(0, 1)
