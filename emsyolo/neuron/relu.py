"""The activations of networks without neurons."""

from __future__ import annotations

from torch import nn

from emsyolo.neuron.neuron import Spikes


class ReLU(nn.ReLU):
    """ReLU in the place of a neuron; see `emsyolo.neuron.neuron.Neuron`."""

    v_threshold: float = 1.0
    spikes: Spikes | None = None

    def plain(self) -> nn.Module:
        """Itself."""
        return self


class LeakyReLU(nn.LeakyReLU):
    """Leaky ReLU in the place of a neuron; see `emsyolo.neuron.neuron.Neuron`.

    Args:
        slope: what negative inputs are multiplied by, > 0.
    """

    v_threshold: float = 1.0
    spikes: Spikes | None = None

    def __init__(self, slope: float = 0.1) -> None:
        super().__init__(slope)

    def plain(self) -> nn.Module:
        """Itself."""
        return self


def rectifier(slope: float = 0.0) -> ReLU | LeakyReLU:
    """ReLU, or leaky ReLU of a slope, where that is not 0."""
    return LeakyReLU(slope) if slope else ReLU()
