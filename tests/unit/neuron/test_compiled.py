"""The compiled LIF gives what the reference gives, for every type and order of memory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from emsyolo.neuron.kernels import compiled, reference
from emsyolo.neuron.lif import LIF

CONSTANTS = {"decay": 0.25, "v_threshold": 0.5, "surrogate_width": 1.0}
LAYOUTS = {
    "contiguous": lambda x: x,
    "channels_last": lambda x: x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, x.shape[:2]),
    "one step": lambda x: x[:1],
    "still image": lambda x: x[:1].expand(4, -1, -1, -1, -1),
    "every second column": lambda x: x[..., ::2],
    "steps reversed": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
}


def eighths(*shape: int, dtype: torch.dtype) -> Tensor:
    """Multiples of 1/8, on which every type computes without rounding, and ties with the threshold are common."""
    return ((torch.randn(shape, dtype=torch.float64) * 8).round() / 8).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_spikes_potential_and_gradient_are_the_references(layout: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = LAYOUTS[layout](eighths(3, 2, 40, 6, 10, dtype=dtype)).requires_grad_()
    v = eighths(*x.shape[1:], dtype=dtype)
    upstream = eighths(*x.shape, dtype=dtype)
    expected, last = reference.lif_steps(x, v, detach_reset=True, **CONSTANTS)
    spikes, potential = compiled.lif_steps(x, v, **CONSTANTS)
    assert spikes.dtype == dtype
    assert torch.equal(spikes, expected)
    assert torch.equal(potential, last)
    (gradient,) = torch.autograd.grad(spikes, x, upstream)
    (wanted,) = torch.autograd.grad(expected, x, upstream)
    half = dtype in (torch.float16, torch.bfloat16)  # the reference sums gradients in that type, this one in float32
    torch.testing.assert_close(gradient, wanted, rtol=1e-2 if half else 1e-12, atol=2e-2 if half else 1e-12)


def test_nothing_is_kept_for_a_backward_pass_that_will_not_come() -> None:
    kept: list[Tensor] = []
    x = torch.randn(2, 1, 3, 4, 5)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        compiled.lif_steps(x, torch.zeros_like(x[0]), **CONSTANTS)
        assert sum(t.numel() for t in kept) == 0
        compiled.lif_steps(x.requires_grad_(), torch.zeros_like(x[0]), **CONSTANTS)
    assert sum(t.numel() * t.element_size() for t in kept) == x.numel()


def test_a_reset_that_is_not_detached_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"neuron\.detach_reset=true"):
        LIF(backend="numba", detach_reset=False)
