"""The quantised activation that Spiking YOLOv3-FC is trained with, and its form for leaky ReLU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emsyolo.neuron.neuron import Spikes


def quantised(z: Tensor, scale: Tensor, levels: int, slope: float = 0.0) -> Tensor:
    """Clip-floor-shift: `scale * clip(floor(z * levels / scale + 1/2) / levels, 0, 1)`.

    Computed as `scale / levels * floor(clamp(z * levels / scale + 1/2, 0, levels))` with a straight-through floor, the
    one form of it whose gradients are those of Ming and Li, 2024: towards z 1 where `-scale/(2 levels) < z < scale -
    scale/(2 levels)`, else 0 (24); towards the scale `(a - z) / scale` inside that window, 1 above, 0 below ((25) is
    misprinted there). Eq. (22)-(25); Bu et al., ICLR 2022.

    With a slope, of leaky ReLU, z below 0 counts `slope` times, and is clipped at -1 and 1: what signed spikes express.

    Args:
        z: pre-activations, any shape.
        scale: lambda, > 0, a scalar tensor.
        levels: L, steps between 0 and the scale, >= 1.
        slope: below 0, in [0, 1).
    """
    leaky = torch.where(z > 0, z, slope * z) if slope else z
    steps = (leaky * levels / scale + 0.5).clamp(-levels if slope else 0, levels)
    return scale / levels * (steps + (steps.floor() - steps).detach())


class Quantised(nn.Module):
    """`quantised` with a trainable scale per layer, in the place of a neuron; see `emsyolo.neuron.neuron.Neuron`.

    Args:
        levels: L.
        scale: lambda at the start.
        slope: of a leaky ReLU, in [0, 1); 0 of ReLU.

    Raises:
        ValueError: L < 1, a scale that is not above 0, a slope out of range.
    """

    v_threshold: float = 1.0
    spikes: Spikes | None = None  # of its levels no convolution behind it knows the scale

    def __init__(self, levels: int = 8, scale: float = 4.0, slope: float = 0.0) -> None:
        super().__init__()
        if levels < 1:
            raise ValueError(f"neuron.levels is {levels}; expected at least 1")
        if not scale > 0:
            raise ValueError(f"neuron.scale is {scale}; expected a number > 0")
        if not 0 <= slope < 1:
            raise ValueError(f"neuron.slope is {slope}; expected a number in [0, 1)")
        self.levels = levels
        self.slope = slope
        self.scale = nn.Parameter(torch.tensor(float(scale)))

    def forward(self, z: Tensor) -> Tensor:
        """The activations, of z's shape."""
        return quantised(z, self.scale, self.levels, self.slope)

    def plain(self) -> nn.Module:
        """Itself."""
        return self

    def extra_repr(self) -> str:
        """The arguments, as typed in a config."""
        return f"levels={self.levels}" + (f", slope={self.slope}" if self.slope else "")
