"""The activation of the ANN twins."""

from __future__ import annotations

from torch import nn


class ReLU(nn.ReLU):
    """ReLU with the one attribute that networks ask of a neuron.

    `v_threshold` is the scale at which normalisation weights start; for a network without thresholds it is 1.
    """

    v_threshold: float = 1.0


class LeakyReLU(nn.LeakyReLU):
    """Leaky ReLU with the one attribute that networks ask of a neuron.

    Args:
        slope: below 0.
    """

    v_threshold: float = 1.0

    def __init__(self, slope: float = 0.1) -> None:
        super().__init__(slope)
