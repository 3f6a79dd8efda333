"""Layers of a traced network that time makes a difference to, over maps whose steps lie in the batch."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class InTime(nn.Module):
    """One call of a layer: over images `[N, *]`, or, where `steps` says how many there are, over `[steps * N, *]`.

    Args:
        layer: of images; where there are steps, one of `[steps, N, *]`.
    """

    layer: Any

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.steps: int | None = None

    def forward(self, x: Tensor) -> Tensor:
        """As the layer gives it, steps in the batch."""
        if self.steps is None:
            out: Tensor = self.layer(x)
            return out
        in_time: Tensor = self.layer(x.unflatten(0, (self.steps, len(x) // self.steps)))
        return in_time.flatten(0, 1)


class Site(InTime):
    """One call of an activation, or the neuron in its place, whose spikes stand for its threshold.

    The layer sees `[N, C, values, 1]`, be they maps, sequences or vectors: axis 1 has the channels.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The activations `[N, C, *]` of currents; of a neuron its spikes times its threshold."""
        out = super().forward(x.reshape(len(x), x.shape[1], -1, 1))
        if self.steps is not None:
            out = out * self.layer.scale.to(out.dtype).view(-1, 1, 1)
        return out.reshape(x.shape)
