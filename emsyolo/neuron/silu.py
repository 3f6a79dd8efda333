"""The non-spiking activation in the head of two published EMS-YOLO networks."""

from __future__ import annotations

import torch
from spikingjelly.activation_based import base
from torch import Tensor, nn
from torch.nn.functional import silu

from emsyolo.neuron.neuron import Spikes


class LeakySiLU(base.MemoryModule):
    """A leaky integrator whose output, not its potential, decays; it does not spike.

        m[t] = decay * y[t-1] * (1 - stopgrad(y[t-1])) + x[t],    y[t] = SiLU(m[t])

    From the published EMS-YOLO code, whose SiLU works in place and so overwrites the potential: networks trained with
    it need the same. Only for published checkpoints: convolutions after it are fed by real values.
    Keeps its last output between calls; reset between batches.

    Args:
        decay: share of the last output kept, in [0, 1).
    """

    v_threshold: float = 1.0
    spikes: Spikes | None = None

    def __init__(self, decay: float = 0.25) -> None:
        super().__init__()
        self.step_mode = "m"
        self.decay = decay
        self.y: Tensor | None
        self.register_memory("y", None)

    def plain(self) -> nn.Module:
        """Itself."""
        return self

    def multi_step_forward(self, x_seq: Tensor) -> Tensor:
        """Outputs `[T, N, *]` of currents `[T, N, *]`."""
        y = torch.zeros_like(x_seq[0]) if self.y is None else self.y
        out = []
        for current in x_seq:
            y = silu(self.decay * y * (1 - y.detach()) + current)
            out.append(y)
        self.y = y.detach()
        return torch.cat(out).view_as(x_seq)
