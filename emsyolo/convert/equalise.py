"""Quantised activations in a network that was trained without them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from emsyolo.convert.calibrate import calibrate
from emsyolo.convert.fold import CONVOLUTIONS
from emsyolo.convert.wiring import replace_module, scale_weights
from emsyolo.model.detector import Detector
from emsyolo.neuron.quantised import Quantised
from emsyolo.neuron.relu import rectifier


def fit_scales(detector: Detector, frames: Sequence[Tensor]) -> None:
    """Let the quantised activations of a detector cost little of what its weights were trained for without them.

    Each channel gets the scale for which clipping and rounding to the levels cost the least mean squared error. An
    activation has one scale for all of its channels; so what comes before it is divided by those of the channels, what
    comes behind it multiplied, and its own is 1. Without the rounding this changes nothing, since rectifiers are
    homogeneous. Nagel et al., ICCV 2019, equalise ranges in the same way.

    Args:
        detector: changed in place.
        frames: batches `[1, N, C, H, W]`.

    Raises:
        ValueError: no batch; a convolution that reads a sum of activations, or an activation that follows neither
            normalisation nor convolution; names it.
    """
    nodes = {name: module for name, module in detector.named_modules() if isinstance(module, Quantised)}
    before = {name: _before(detector, name) for name in nodes}
    exact = copy.deepcopy(detector).eval()
    exact.T = 1
    rectifiers: dict[str, nn.Module] = {name: rectifier(node.slope) for name, node in nodes.items()}
    for name, module in rectifiers.items():
        replace_module(exact, name, module)
    scales: dict[str, Tensor] = {}
    for levels in {node.levels for node in nodes.values()}:
        some = {name: module for name, module in rectifiers.items() if nodes[name].levels == levels}
        scales |= calibrate(exact, some, lambda: frames, rule="mean_square", levels=levels)
    training, steps = detector.training, detector.T
    detector.eval().T = 1
    scale_weights(detector, {name: detector.get_submodule(name) for name in nodes}, scales, frames[0][:, :1])
    with torch.no_grad():
        for name, node in nodes.items():
            replace_module(detector, name, node)
            _divide(before[name], scales[name])
            node.scale.fill_(1.0)
    detector.train(training).T = steps


def _before(network: nn.Module, name: str) -> nn.Module:
    """The normalisation or convolution whose output an activation reads."""
    parent, _, last = name.rpartition(".")
    places = dict(network.get_submodule(parent).named_children())
    found = next((a for a, b in pairwise(places) if b == last), None)
    if found is None or not isinstance(places[found], (nn.BatchNorm2d, *CONVOLUTIONS)):
        raise ValueError(
            f"{name} follows neither normalisation nor convolution; expected one of them before each quantised "
            "activation, when a training begins with weights of a network without them"
        )
    return places[found]


def _divide(layer: nn.Module, scale: Tensor) -> None:
    """Divide what a layer gives by a scale for each channel."""
    for tensor in layer.parameters():
        axis = 1 if isinstance(layer, nn.ConvTranspose2d) and tensor.ndim > 1 else 0
        tensor.div_(scale.view(*[1] * axis, -1, *[1] * (tensor.ndim - 1 - axis)))
