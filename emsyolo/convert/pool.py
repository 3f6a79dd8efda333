"""Max-pooling in time."""

from __future__ import annotations

import torch
from spikingjelly.activation_based import base
from torch import Tensor, nn

from emsyolo.neuron.accumulate import Code, step_weights


class AccumulatedMaxPool(base.MemoryModule):
    """Max-pooling of what has arrived so far: `y[t] = (max(S[t]) - max(S[t-1])) / r[t]`, S the sum of `r[t] x[t]`.

    r is what a spike of each step stands for: 1, but where spikes are digits.

    The mean over time of its output is the maximum of the means, which plain max-pooling at each step misses (it gives
    the mean of the maxima); the law that the error falls as 1/T holds only with this rule. Of spikes it gives spikes:
    the sums move by r[t], either way, or not at all. Rueckauer et al., Frontiers in Neuroscience 2017, section 2.2.5,
    gate by the same sums. Keeps sums between calls.

    Args:
        pool: max-pooling of maps, of any window.
        code: of the spikes that come in; of digits a call must bring all T steps.
    """

    passes_spikes = True  # what the convolutions behind are fed with is what came in
    total: Tensor | float
    largest: Tensor | float

    def __init__(self, pool: nn.Module, code: Code = "even") -> None:
        super().__init__()
        self.step_mode = "m"
        self.pool = pool
        self.code: Code = code
        self.register_memory("total", 0.0)
        self.register_memory("largest", 0.0)

    def forward(self, x: Tensor) -> Tensor:
        """`[T, N, C, H, W]` to `[T, N, C, H', W']`."""
        if self.code != "even":
            weights = step_weights(self.code, len(x), x.device).to(x.dtype).view(-1, *[1] * (x.ndim - 1))
            tops = self.pool((weights * x).cumsum(dim=0).flatten(0, 1)).unflatten(0, x.shape[:2])
            return torch.cat((tops[:1], tops[1:] - tops[:-1])) / weights
        sums = x.cumsum(dim=0) + self.total
        tops = self.pool(sums.flatten(0, 1)).unflatten(0, sums.shape[:2])
        first = tops[:1] - self.largest
        self.total, self.largest = sums[-1], tops[-1]
        return torch.cat((first, tops[1:] - tops[:-1]))
