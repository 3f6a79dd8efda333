"""The leaky neurons in operators that every exporter knows, and as few of them as there can be."""

from __future__ import annotations

import torch
from spikingjelly.activation_based import base
from torch import Tensor

from emsyolo.neuron.neuron import Spikes


class _Leaky(base.MemoryModule):
    """A potential `v` that is kept between calls, and loses a share in every step.

    Args:
        decay: a number, or decays per channel `[C, 1, 1]`.
        start: the potential before the first step.
    """

    decay: Tensor | float

    def __init__(self, decay: Tensor | float, start: float) -> None:
        super().__init__()
        self.step_mode = "m"
        if isinstance(decay, Tensor):
            self.register_buffer("decay", decay)
        else:
            self.decay = decay
        self.v: Tensor | float
        self.register_memory("v", start)

    def charged(self, current: Tensor, v: Tensor | float) -> Tensor:
        """The potential of a step from that after the last one."""
        return current + self.decay * v if isinstance(v, Tensor) or v else current


class PlainLIF(_Leaky):
    """`emsyolo.neuron.lif.LIF` for inference, step by step.

    Args:
        decay: a number, or decays per channel `[C, 1, 1]`.
        v_threshold, soft_reset, start: as for `LIF`.
    """

    spikes = Spikes()

    def __init__(self, *, decay: Tensor | float, v_threshold: float, soft_reset: bool, start: float) -> None:
        super().__init__(decay, start * v_threshold)
        self.v_threshold, self.soft_reset = v_threshold, soft_reset

    def plain(self) -> PlainLIF:
        """Itself."""
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Spikes `[T, N, *]` of currents `[T, N, *]`."""
        v, out = self.v, []
        for current in x.unbind(0):
            u = self.charged(current, v)
            fired = u >= self.v_threshold
            v = torch.where(fired, u - self.v_threshold, u) if self.soft_reset else u.masked_fill(fired, 0.0)
            out.append(fired)
        self.v = v
        return torch.stack(out).to(x.dtype)


class PlainILIF(_Leaky):
    """`emsyolo.neuron.ilif.ILIF` for inference, step by step.

    Args:
        decay: a number, or decays per channel `[C, 1, 1]`.
        input_scale, v_threshold, levels: as for `ILIF`.
    """

    def __init__(self, *, decay: Tensor | float, input_scale: float, v_threshold: float, levels: int) -> None:
        super().__init__(decay, 0.0)
        self.v_threshold, self.input_scale, self.levels = v_threshold, input_scale, levels
        self.spikes = Spikes(levels)

    def plain(self) -> PlainILIF:
        """Itself."""
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Spikes `[T, N, *]` of currents `[T, N, *]`."""
        scale = self.input_scale / self.v_threshold  # potentials are in units of the threshold
        v, out = self.v, []
        for current in (x if scale == 1 else x * scale).unbind(0):
            u = self.charged(current, v)
            out.append(u.clamp(0, self.levels).round())  # half to even
            v = u - out[-1]
        self.v = v
        return torch.stack(out)
