"""Re-parameterised convolutions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from emsyolo.layer.rep import BNPad, RepConv


def trained_like(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for one in module.modules():
        if isinstance(one, nn.BatchNorm2d):
            one.running_mean.normal_(0, 0.3)
            one.running_var.uniform_(0.2, 0.6)
            one.weight.data.uniform_(0.6, 1.4)
            one.bias.data.normal_(0, 0.3)
    return module.double()


def test_the_frame_is_what_normalisation_makes_of_zero() -> None:
    pad = trained_like(BNPad(3, eps=1e-3)).eval()
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    found = pad(x)
    zeros = pad(torch.zeros_like(x))
    assert found.shape == (2, 3, 6, 7)
    torch.testing.assert_close(found[:, :, 0], zeros[:, :, 1, :1].expand(-1, -1, 7))
    torch.testing.assert_close(found[:, :, 1:-1, 1:-1], nn.BatchNorm2d.forward(pad, x))


@pytest.mark.parametrize("separable", [False, True])
def test_one_dense_convolution_is_the_same(separable: bool) -> None:
    layers = trained_like(RepConv(5, 7, separable=separable, eps=1e-3, momentum=0.03)).eval()
    x = torch.randn(2, 5, 6, 9, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(layers.dense()(x), layers(x), rtol=0, atol=1e-12)
