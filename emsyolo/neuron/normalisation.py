"""A batch normalisation as a value, for a neuron that normalises its currents while it integrates them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Normalisation:
    """What a batch normalisation does with maps, per channel: `(x - mean) / sqrt(var + eps) * weight + bias`.

    Attributes:
        mean, var: `[C]`, the variance not corrected for the number of samples.
        weight, bias: `[C]`.
        eps: see above.
        batch: mean and var are those of the maps themselves, so that gradients flow through them.
    """

    mean: Tensor
    var: Tensor
    weight: Tensor
    bias: Tensor
    eps: float
    batch: bool

    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor, float, bool]:
        """As the operators take them."""
        return self.mean, self.var, self.weight, self.bias, self.eps, self.batch


def needs_gradient(x: Tensor, norm: Normalisation | None, add: Tensor | None = None) -> bool:
    """Whether a backward pass is to come for maps, for what they are normalised with, or for what is added to them."""
    inputs = (x, add) if norm is None else (x, norm.weight, norm.bias, add)
    return torch.is_grad_enabled() and any(one is not None and one.requires_grad for one in inputs)
