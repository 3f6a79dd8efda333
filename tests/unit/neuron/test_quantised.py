"""The quantised activation."""

from __future__ import annotations

import torch

from emsyolo.neuron.quantised import quantised


def test_quantised_activation_by_hand() -> None:
    z = torch.tensor([-1.0, 0.2, 0.25, 0.6, 1.9, 2.4], dtype=torch.float64)
    scale = torch.tensor(2.0, dtype=torch.float64)
    # L = 4: steps of 0.5, each begins half a step below.
    assert quantised(z, scale, 4).tolist() == [0, 0, 0.5, 0.5, 2, 2]


def test_gradients_of_the_quantised_activation() -> None:
    z = torch.linspace(-1, 3, 101, dtype=torch.float64).add(0.003).requires_grad_()
    scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    a = quantised(z, scale, 4)
    inside = (z > -0.25) & (z < 1.75)
    (to_z,) = torch.autograd.grad(a.sum(), z, retain_graph=True)
    assert torch.equal(to_z, inside.double())
    to_scale = [torch.autograd.grad(one, scale, retain_graph=True)[0].item() for one in a]
    expected = torch.where(inside, (a - z) / scale, (z >= 1.75).double())
    torch.testing.assert_close(torch.tensor(to_scale, dtype=torch.float64), expected)
