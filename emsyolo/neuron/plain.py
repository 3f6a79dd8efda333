"""The leaky neuron in operators that every exporter knows."""

from __future__ import annotations

import torch
from spikingjelly.activation_based import base
from torch import Tensor

from emsyolo.neuron.neuron import Spikes


class PlainLIF(base.MemoryModule):
    """`emsyolo.neuron.lif.LIF` for inference, step by step; keeps its potential `v` between calls.

    Args:
        decay: a number, or decays per channel `[C, 1, 1]`.
        v_threshold, soft_reset, start: as for `LIF`.
    """

    decay: Tensor | float

    spikes = Spikes()

    def __init__(self, *, decay: Tensor | float, v_threshold: float, soft_reset: bool, start: float) -> None:
        super().__init__()
        self.step_mode = "m"
        self.v_threshold, self.soft_reset = v_threshold, soft_reset
        if isinstance(decay, Tensor):
            self.register_buffer("decay", decay)
        else:
            self.decay = decay
        self.v: Tensor | float
        self.register_memory("v", start * v_threshold)

    def plain(self) -> PlainLIF:
        """Itself."""
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Spikes `[T, N, *]` of currents `[T, N, *]`."""
        v, out = self.v, []
        for current in x.unbind(0):
            u = current + self.decay * v if isinstance(v, Tensor) or v else current
            fired = u >= self.v_threshold
            v = torch.where(fired, u - self.v_threshold if self.soft_reset else torch.zeros_like(u), u)
            out.append(fired.to(x.dtype))
        self.v = v
        return torch.stack(out)
