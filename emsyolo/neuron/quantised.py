"""The quantised activation that Spiking YOLOv3-FC is trained with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emsyolo.neuron.neuron import Spikes


def quantised(z: Tensor, scale: Tensor, levels: int) -> Tensor:
    """Clip-floor-shift: `scale * clip(floor(z * levels / scale + 1/2) / levels, 0, 1)`.

    Computed as `scale / levels * floor(clamp(z * levels / scale + 1/2, 0, levels))` with a straight-through floor, the
    one form of it whose gradients are those of Ming and Li, 2024: towards z 1 where `-scale/(2 levels) < z < scale -
    scale/(2 levels)`, else 0 (24); towards the scale `(a - z) / scale` inside that window, 1 above, 0 below ((25) is
    misprinted there). Eq. (22)-(25); Bu et al., ICLR 2022.

    Args:
        z: pre-activations, any shape.
        scale: lambda, > 0, a scalar tensor.
        levels: L, steps between 0 and the scale, >= 1.
    """
    steps = (z * levels / scale + 0.5).clamp(0, levels)
    return scale / levels * (steps + (steps.floor() - steps).detach())


class Quantised(nn.Module):
    """`quantised` with a trainable scale per layer, in the place of a neuron; see `emsyolo.neuron.neuron.Neuron`.

    Args:
        levels: L.
        scale: lambda at the start.

    Raises:
        ValueError: L < 1 or a scale that is not above 0.
    """

    v_threshold: float = 1.0
    spikes: Spikes | None = None  # of its levels no convolution behind it knows the scale

    def __init__(self, levels: int = 8, scale: float = 4.0) -> None:
        super().__init__()
        if levels < 1:
            raise ValueError(f"neuron.levels is {levels}; expected at least 1")
        if not scale > 0:
            raise ValueError(f"neuron.scale is {scale}; expected a number > 0")
        self.levels = levels
        self.scale = nn.Parameter(torch.tensor(float(scale)))

    def forward(self, z: Tensor) -> Tensor:
        """The activations, of z's shape."""
        return quantised(z, self.scale, self.levels)

    def plain(self) -> nn.Module:
        """Itself."""
        return self

    def extra_repr(self) -> str:
        """The arguments, as typed in a config."""
        return f"levels={self.levels}"
