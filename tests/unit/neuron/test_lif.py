"""The LIF neuron by hand."""

from __future__ import annotations

import pytest
import torch

from emsyolo.neuron.lif import LIF, lif

PAPER = {"decay": 0.25, "v_threshold": 0.5, "surrogate_width": 1.0}


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).view(-1, 1)


def test_potential_leaks_and_resets() -> None:
    # u: 0.4 | 0.1 + 0.4 = 0.5 fires | reset, 0.3 | 0.075 + 0.3 = 0.375 | 0.09375 + 0.5 fires
    assert lif(column(0.4, 0.4, 0.3, 0.3, 0.5), **PAPER).flatten().tolist() == [0, 1, 0, 0, 1]


@pytest.mark.parametrize("backend", ["torch", "numba", "spikingjelly"])
def test_the_first_step_finds_a_potential(backend: str) -> None:
    # u: 0.25 * 0.4 + 0.4 = 0.5 fires | 0.4 | and after a reset of the node the same again
    node = LIF(start=0.8, backend=backend)  # type: ignore[arg-type]
    for _ in range(2):
        assert node(column(0.4, 0.4)).flatten().tolist() == [1, 0]
        node.reset()


def test_fires_at_the_tie() -> None:
    assert lif(column(0.5), **PAPER).item() == 1
    assert lif(column(0.5 - 2**-40), **PAPER).item() == 0


def test_gradient_is_the_rectangle_and_flows_through_the_leak() -> None:
    # u = 0.25, 0.3125, 1.3: inside the window, inside, outside; step 2 gets 1/a from itself, and
    # step 1 its own 1/a plus decay times step 2's, because step 1 did not fire.
    x = column(0.25, 0.25, 1.3).requires_grad_()
    lif(x, decay=0.25, v_threshold=0.5, surrogate_width=0.8).sum().backward()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == pytest.approx([1.25 * 1.25, 1.25, 0.0])


@pytest.mark.parametrize("u", [0.0, 1.0])
def test_edge_of_the_window_is_outside(u: float) -> None:
    x = column(u).requires_grad_()
    lif(x, **PAPER).sum().backward()
    assert x.grad is not None
    assert x.grad.item() == 0


def test_reset_stops_the_gradient_only_if_detached() -> None:
    # u[0] = 0.6 fires; u[1] = 0.25 * 0.6 * (1 - s[0]) + 0.4. Not detached, du[1]/dx[0] has the reset's part
    # -0.25 * 0.6 * ds/du = -0.15 beside 0.25 * (1 - 1) = 0.
    for detach, expected in ((True, 1.0), (False, 1.0 - 0.15)):
        x = column(0.6, 0.4).requires_grad_()
        lif(x, detach_reset=detach, **PAPER).sum().backward()
        assert x.grad is not None
        assert x.grad[0].item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "value"), [("decay", 1.1), ("decay", -0.1), ("v_threshold", 0.0), ("surrogate_width", -1.0)]
)
def test_arguments_outside_their_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"neuron\.{name} is {value}"):
        LIF(**{name: value})


def test_unknown_backend_is_refused() -> None:
    with pytest.raises(ValueError, match=r"neuron\.backend is 'numpy'; expected one of auto, torch, numba, "):
        LIF(backend="numpy")  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_keeps_the_potential_between_calls(dtype: torch.dtype, backend: str) -> None:
    # 1 + 2^-12 reaches the threshold; in half precision the potential 1 would not know the 2^-12 that came before.
    node = LIF(decay=1.0, v_threshold=1 + 2**-12, backend=backend)  # type: ignore[arg-type]
    steps = torch.tensor([2**-12, 1.0], dtype=dtype).view(-1, 1, 1)
    assert [node(one[None]).item() for one in steps] == [0, 1]


@pytest.mark.parametrize("backend", ["torch", "numba", "spikingjelly"])
def test_node_goes_on_from_its_potential_until_reset(backend: str) -> None:
    node = LIF(backend=backend)  # type: ignore[arg-type]
    x = column(0.4, 0.4, 0.3)
    whole = node(x)
    node.reset()
    assert torch.equal(torch.cat([node(x[:1]), node(x[1:])]), whole)
    node.reset()
    assert torch.equal(node(x), whole)


def test_half_precision_keeps_small_currents() -> None:
    # 0.496 + 0.25^k sums would be lost below bfloat16's step of 2^-9 near 0.5; the potential is float32.
    x = torch.full((6, 1), 0.376, dtype=torch.bfloat16)
    exact = lif(x.double(), **PAPER)
    assert torch.equal(lif(x, **PAPER).double(), exact)


def test_keeps_memory_format() -> None:
    x = torch.randn(2, 3, 4, 5, 6).flatten(0, 1).to(memory_format=torch.channels_last).unflatten(0, (2, 3))
    spikes = lif(x, **PAPER)
    assert spikes.stride() == x.stride()
    assert torch.equal(spikes, lif(x.contiguous(), **PAPER))
