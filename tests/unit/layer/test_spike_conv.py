"""Convolutions that keep spikes as bits."""

from __future__ import annotations

import torch

from emsyolo.layer.multistep import MultiStep
from emsyolo.layer.spike_conv import SpikeConv2d
from emsyolo.neuron.lif import LIF


def test_a_packed_convolution_has_a_bias_and_groups_too() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 2, 4, 6, 5, dtype=torch.float64)
    gradients = []
    layers = MultiStep(LIF(), SpikeConv2d(4, 6, 3, stride=2, padding=1, groups=2).double())
    for pack in (False, True):
        layers[0].reset()
        layers[0].pack = pack
        layers.zero_grad()
        leaf = x.clone().requires_grad_()
        layers(leaf).square().sum().backward()
        gradients.append([leaf.grad, *(p.grad.clone() for p in layers.parameters())])
    for plain, packed in zip(*gradients, strict=True):
        assert torch.equal(plain, packed)
