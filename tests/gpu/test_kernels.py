"""Kernels on a GPU where layouts are awkward: exactly what a CPU gives."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from emsyolo.neuron.kernels import launch, operator

pytestmark = pytest.mark.gpu
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
AWKWARD: dict[str, Callable[[Tensor], Tensor]] = {
    "every other neuron": lambda x: x[..., ::2],
    "from an odd place": lambda x: x.flatten()[1:-7].unflatten(0, (len(x), -1)),
    "one step for all": lambda x: x[:1].expand(x.shape),
    "channels last": lambda x: x.movedim(2, -1).contiguous().movedim(-1, 2),
    "nothing": lambda x: x[:, :0],
}


def currents(dtype: torch.dtype) -> Tensor:
    """Multiples of 1/8, so that every dtype holds what is computed from them."""
    return ((torch.randn(8, 2, 3, 1008, dtype=torch.float64) * 8).round() / 8).to(dtype)


@pytest.mark.parametrize("awkward", AWKWARD)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_binary_neurons(device: torch.device, dtype: torch.dtype, awkward: str) -> None:
    whole = currents(dtype)
    results = []
    for place in ("cpu", device):
        x = AWKWARD[awkward](whole.to(place)).detach().requires_grad_()  # made there: a copy would be dense
        spikes, bits, last = operator.lif(x, None, 0.25, 0.5, 1.0, False, keep=True)
        upstream = torch.ones_like(spikes) * 0.25
        (gradient,) = torch.autograd.grad(spikes, x, upstream)
        results.append([one.cpu() for one in (spikes, bits, last, operator.unpack(bits, len(x), dtype), gradient)])
    for host, on_device in zip(*results, strict=True):
        assert torch.equal(host, on_device)


@pytest.mark.parametrize("awkward", AWKWARD)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_integer_neurons(device: torch.device, dtype: torch.dtype, awkward: str) -> None:
    whole = currents(dtype) * 4
    results = []
    for place in ("cpu", device):
        x = AWKWARD[awkward](whole.to(place)).detach().requires_grad_()
        spikes, bits, last = operator.ilif(x, None, 0.25, 1.0, 4, keep=True)
        (gradient,) = torch.autograd.grad(spikes, x, torch.ones_like(spikes) * 0.25)
        again = operator.unpack_integers(bits, len(x), 4, dtype)
        results.append([one.cpu() for one in (spikes, bits, last, again, gradient)])
    for host, on_device in zip(*results, strict=True):
        assert torch.equal(host, on_device)


def test_more_neurons_than_threads(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(4, 3, 50_000, device=device)
    expected = operator.lif(x, None, 0.25, 0.5, 1.0, False, keep=True)
    monkeypatch.setattr(launch, "MAX_BLOCKS", 3)
    for one, other in zip(expected, operator.lif(x, None, 0.25, 0.5, 1.0, False, keep=True), strict=True):
        assert torch.equal(one, other)
