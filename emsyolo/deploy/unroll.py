"""Integer spikes as planes of 0 and 1: what spike-driven hardware runs."""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn

from emsyolo.convert.fold import fold_normalisation
from emsyolo.layer.multistep import MultiStep
from emsyolo.model.detector import Detector
from emsyolo.neuron.neuron import Spikes, spikes_of


class Planes(nn.Module):
    """Whole numbers from 0 to D as D planes of 0 and 1, of which as many are 1: plane d is 1 where the number is above
    d.

    Args:
        levels: D.
    """

    passes_spikes = Spikes()  # not a neuron: nothing is decided here

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C, H, W]` to `[D*N, C, H, W]`, plane by plane."""
        return torch.cat([(x > level).to(x.dtype) for level in range(self.levels)])


class UnrolledConv2d(nn.Module):
    """A convolution of whole numbers, run on their planes; the bias is added once, not once per plane.

    Args:
        convolution: what it computes.
        levels: D, the largest number.
    """

    def __init__(self, convolution: nn.Conv2d, levels: int) -> None:
        super().__init__()
        self.planes = Planes(levels)
        self.convolution = copy.deepcopy(convolution)
        self.convolution.bias = None
        self.bias = None if convolution.bias is None else nn.Parameter(convolution.bias.detach().clone())
        self.levels = levels

    def get_parameter(self, target: str) -> nn.Parameter:
        """Its own parameters, or the convolution's, as a head asks for them."""
        return self.convolution.get_parameter(target) if target == "weight" else super().get_parameter(target)

    def forward(self, x: Tensor) -> Tensor:
        """The convolution of `[N, C, H, W]`."""
        out = self.convolution(self.planes(x)).unflatten(0, (self.levels, len(x))).sum(dim=0)
        return out if self.bias is None else out + self.bias.view(-1, 1, 1)


def unrolled(detector: Detector) -> Detector:
    """A copy in which every convolution behind an integer-valued neuron runs on planes of 0 and 1.

    The same up to rounding, by linearity; decay and reset act between real steps only. The maps of the head are
    unrolled where T is 1 and no temporal part is: with more steps they read a mean, behind such a part numbers. What
    that part itself reads of the neck stays whole numbers. Luo et al., ECCV 2024, section 3.3.

    Args:
        detector: a trained one; left untouched.

    Raises:
        ValueError: there is no integer-valued neuron.
    """
    copied = copy.deepcopy(detector).eval().requires_grad_(requires_grad=False)
    fold_normalisation(copied)
    levels = {s.levels for s in map(spikes_of, copied.modules()) if s is not None and s.levels > 1 and not s.signed}
    if not levels:
        raise ValueError("unroll=true: the detector has no integer-valued neuron, whose spikes could be unrolled")
    for row in list(copied.modules()):
        if isinstance(row, MultiStep):
            for (_, before), (name, layer) in pairwise(list(row.named_children())):
                spikes = spikes_of(before)
                if spikes is not None and spikes.levels > 1 and not spikes.signed and isinstance(layer, nn.Conv2d):
                    setattr(row, name, UnrolledConv2d(layer, spikes.levels))
    if copied.T == 1 and len(levels) == 1 and copied.temporal is None and _ends_in_neurons(copied.neck):
        for name in copied.head.map_starts:
            parent, _, last = name.rpartition(".")
            holder, convolution = copied.head.get_submodule(parent), copied.head.get_submodule(name)
            assert isinstance(convolution, nn.Conv2d)
            if isinstance(holder, nn.ModuleDict | nn.ModuleList):
                holder[last if isinstance(holder, nn.ModuleDict) else int(last)] = UnrolledConv2d(  # type: ignore[index]
                    convolution, max(levels)
                )
    return copied


def _ends_in_neurons(neck: nn.Module) -> bool:
    """Whether what the head reads is spikes."""
    return bool(getattr(neck, "ends_in_neurons", False))
