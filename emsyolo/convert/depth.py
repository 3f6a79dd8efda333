"""How many neurons in a row a network has, which is what waiting neurons make it late by."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from emsyolo.convert.fold import CONVOLUTIONS
from emsyolo.model.detector import Detector
from emsyolo.neuron.neuron import is_neuron

BASE = 16.0  # more branches than are ever added; 16^200 is still a float64


class _Next(nn.Module):
    """Stands for a neuron: one deeper than the deepest of its inputs."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.full_like(x, BASE ** (math.floor(math.log(x.max().item(), BASE) + 1e-6) + 1))


def neurons_in_a_row(detector: Detector) -> int:
    """The largest number of neurons that a value passes on its way through a network.

    Found by running it on numbers that stand for depths: `BASE` to the power of the depth, so that where branches are
    added the deepest one stays the largest.

    Args:
        detector: left untouched.
    """
    probed = copy.deepcopy(detector).cpu().double().eval()
    probed.T, probed.chunk = 1, None
    deepest = 1.0

    def through(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        nonlocal deepest
        deepest = max(deepest, args[0].max().item())
        return torch.full_like(output, args[0].max().item())

    for name, module in list(probed.named_modules()):
        if is_neuron(module):
            parent, _, last = name.rpartition(".")
            setattr(probed.get_submodule(parent), last, _Next())
        elif isinstance(module, CONVOLUTIONS):
            module.register_forward_hook(through)
    first = next(module for module in probed.modules() if isinstance(module, nn.Conv2d))
    side = probed.head.layout.strides[-1]
    with torch.inference_mode():
        probed(torch.ones(1, 1, first.in_channels, side, side, dtype=torch.float64))
    return math.floor(math.log(deepest, BASE) + 1e-6)
