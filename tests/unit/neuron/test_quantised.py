"""The quantised activation."""

from __future__ import annotations

import pytest
import torch

from emsyolo.neuron.quantised import Quantised, quantised


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


def test_quantised_leaky_relu_by_hand() -> None:
    z = torch.tensor([-9.0, -1.6, -1.4, -0.4, 0.2, 0.3, 2.4], dtype=torch.float64)
    # L = 4: steps of 0.5. Half of -1.6 lies a step and six tenths below 0, half of -1.4 one and four tenths.
    found = quantised(z, torch.tensor(2.0, dtype=torch.float64), 4, slope=0.5)
    assert found.tolist() == [-2, -1, -0.5, 0, 0, 0.5, 2]


def test_gradients_of_the_quantised_leaky_relu() -> None:
    z = torch.linspace(-6, 3, 101, dtype=torch.float64).add(0.003).requires_grad_()
    scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    a = quantised(z, scale, 4, slope=0.5)
    inside = (z > -4.5) & (z < 1.75)  # half of -4.5 is half a step below the lowest
    (to_z,) = torch.autograd.grad(a.sum(), z, retain_graph=True)
    torch.testing.assert_close(to_z, torch.where(z > 0, 1.0, 0.5).double() * inside)
    to_scale = [torch.autograd.grad(one, scale, retain_graph=True)[0].item() for one in a]
    exact = torch.where(z > 0, z, 0.5 * z)
    expected = torch.where(inside, (a - exact) / scale, z.sign())
    torch.testing.assert_close(torch.tensor(to_scale, dtype=torch.float64), expected)


@pytest.mark.parametrize(("key", "value"), [("levels", 0), ("scale", 0.0), ("slope", -0.1), ("slope", 1.0)])
def test_arguments_out_of_range(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"neuron\.{key} is {value}; expected"):
        Quantised(**{key: value})  # type: ignore[arg-type]
