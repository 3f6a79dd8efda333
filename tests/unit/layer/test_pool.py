"""Max-pooling against torch's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from emsyolo.layer.pool import MaxPool2d
from emsyolo.neuron.kernels import operator


@pytest.mark.parametrize("size_hw", [(8, 6), (7, 5), (2, 9)])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_maxima_and_gradients_are_torchs(
    dtype: torch.dtype, order: torch.memory_format, size_hw: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 5, *size_hw).mul(2).round().to(dtype).contiguous(memory_format=order).requires_grad_()  # ties
    results = []
    for pool in (MaxPool2d(2, 2), nn.MaxPool2d(2, 2)):
        y = pool(x)
        (gradient,) = torch.autograd.grad(y, x, torch.arange(y.numel()).view_as(y).to(dtype))
        results.append((y, gradient))
    for mine, other in zip(*results, strict=True):
        assert torch.equal(mine, other)
        assert mine.stride() == other.stride()
    with torch.no_grad():
        assert torch.equal(MaxPool2d(2, 2)(x), results[0][0])


def test_a_strided_view_and_another_window_are_pooled_too() -> None:
    x = torch.randn(2, 3, 8, 12)[..., ::2]
    assert torch.equal(MaxPool2d(2, 2)(x), nn.MaxPool2d(2, 2)(x))
    assert torch.equal(MaxPool2d(3, 2)(x), nn.MaxPool2d(3, 2)(x))


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last], ids=str)
def test_torch_knows_the_operators(order: torch.memory_format) -> None:
    x = torch.randn(2, 3, 6, 9).contiguous(memory_format=order)
    tests = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_static")
    torch.library.opcheck(operator.max_pool2, (x.requires_grad_(), True), test_utils=tests)
    _, winners = operator.max_pool2(x.detach(), True)
    torch.library.opcheck(operator.max_pool2_backward, (torch.randn(2, 3, 3, 4), winners, 6, 9))
