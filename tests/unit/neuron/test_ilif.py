"""The integer-valued neuron, by hand and against SpikingJelly's and the reference."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from spikingjelly.activation_based import neuron as theirs
from spikingjelly.activation_based import surrogate

from emsyolo.layer.multistep import MultiStep
from emsyolo.layer.spike_conv import SpikeConv2d
from emsyolo.neuron.ilif import ILIF, ilif
from emsyolo.neuron.kernels import operator, reference

LAYOUTS = {
    "contiguous": lambda x: x,
    "channels_last": lambda x: x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, x.shape[:2]),
    "one step": lambda x: x[:1],
    "still image": lambda x: x[:1].expand(6, -1, -1, -1, -1),
    "every second column": lambda x: x[..., ::2],
}


def eighths(*shape: int, dtype: torch.dtype, scale: float = 3.0) -> torch.Tensor:
    """Multiples of 1/8 around 1, on which every type computes without rounding and ties are common."""
    return (((torch.randn(shape, dtype=torch.float64) * scale + 1) * 8).round() / 8).to(dtype)


def test_rounding_reset_and_residue_by_hand() -> None:
    x = torch.tensor([0.5, 1.5, 2.5, -1.0, 6.0]).view(-1, 1)
    # u: 0.5 -> 0 | 0.125 + 1.5 = 1.625 -> 2 | -0.09375 + 2.5 -> 2 | 0.1015625 - 1 -> 0 | -0.2246 + 6 -> 4, 1.7754 stay
    assert ilif(x, levels=4).flatten().tolist() == [0, 2, 2, 0, 4]
    node = ILIF(4, backend="torch")
    node(x)
    assert node.v.item() == pytest.approx(6 - 0.25 * 0.8984375 - 4)
    assert [ilif(torch.tensor([[v]]), levels=4).item() for v in (0.5, 1.5, 2.5, 3.5)] == [0, 2, 2, 4]


def test_gradient_passes_the_box_and_the_leak_by_hand() -> None:
    x = torch.tensor([[0.0], [5.0], [1.0]], requires_grad=True)
    ilif(x, levels=4, decay=0.5).sum().backward()
    # u: 0 (inside, edge) | 5 (outside) | 0.5 * 1 + 1 (inside): 1 + 0.25, 0.5, 1
    assert x.grad.flatten().tolist() == [1.25, 0.5, 1.0]


@pytest.mark.parametrize("levels", [1, 2, 4, 8, 127])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_spikes_potential_and_gradient_are_the_references(layout: str, dtype: torch.dtype, levels: int) -> None:
    torch.manual_seed(0)
    x = LAYOUTS[layout](eighths(6, 2, 40, 6, 10, dtype=dtype)).requires_grad_()
    v, upstream = eighths(*x.shape[1:], dtype=dtype), eighths(*x.shape, dtype=dtype)
    constants: dict[str, Any] = {"decay": 0.25, "input_scale": 0.5, "levels": levels}
    expected, last = reference.ilif_steps(x, v, **constants)
    spikes, bits, potential = operator.ilif(x, v, *constants.values(), keep=True)
    assert torch.equal(spikes, expected)
    assert torch.equal(potential, last)
    assert torch.equal(operator.unpack_integers(bits, len(x), levels, dtype), expected)
    (gradient,) = torch.autograd.grad(spikes, x, upstream)
    (wanted,) = torch.autograd.grad(expected, x, upstream)
    half = dtype in (torch.float16, torch.bfloat16)  # the reference sums gradients in that type, this one in float32
    torch.testing.assert_close(gradient, wanted, rtol=2e-2 if half else 1e-12, atol=6e-2 if half else 1e-12)


@pytest.mark.parametrize("v_threshold", [1.0, 0.5])
@pytest.mark.parametrize("levels", [1, 4, 7])
@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_is_spikingjellys(backend: Any, levels: int, v_threshold: float) -> None:
    torch.manual_seed(0)
    x, upstream = eighths(5, 2, 3, 4, dtype=torch.float64), torch.randn(5, 2, 3, 4, dtype=torch.float64)
    ours = ILIF(levels, v_threshold=v_threshold, backend=backend)
    other = theirs.ILIFNode(
        4 / 3, v_threshold, surrogate.MultiLevelSpikeCount(levels), detach_reset=True, step_mode="m"
    )
    found = []
    for node in (ours, other):
        leaf = x.clone().requires_grad_()
        spikes = node(leaf)
        (gradient,) = torch.autograd.grad(spikes, leaf, upstream)
        found.append((spikes, gradient))
    assert torch.equal(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-12, atol=1e-12)


def test_bits_hold_as_many_steps_as_fit() -> None:
    for levels, steps, rows in ((1, 9, 3), (3, 2, 1), (4, 3, 2), (7, 2, 1), (8, 2, 2), (127, 2, 2)):
        _, bits, _ = operator.ilif(torch.rand(steps, 1, 2), None, 0.25, 1.0, levels, keep=True)
        assert bits.shape == (rows, 1, 2)
        assert bits.dtype == torch.uint8


@pytest.mark.parametrize("levels", [1, 4, 8])
def test_a_packed_convolution_has_the_same_gradients(levels: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 2, 4, 6, 5, dtype=torch.float64) * 3
    layers = MultiStep(ILIF(levels), SpikeConv2d(4, 6, 3, stride=2, padding=1).double())
    gradients = []
    for memory in ("plain", "packed"):
        layers[0].reset()
        layers[0].keep(memory)
        layers.zero_grad()
        leaf = x.clone().requires_grad_()
        layers(leaf).square().sum().backward()
        gradients.append([leaf.grad, *(p.grad.clone() for p in layers.parameters())])
    for plain, packed in zip(*gradients, strict=True):
        assert torch.equal(plain, packed)


def test_torch_knows_the_operators() -> None:
    x = torch.randn(5, 2, 3, 4)
    _, bits, _ = operator.ilif(x, None, 0.25, 1.0, 4, keep=True)
    torch.library.opcheck(operator.ilif, (x, None, 0.25, 1.0, 4, False))
    torch.library.opcheck(operator.ilif_backward, (x, bits, 0.25, 1.0, 4))
    torch.library.opcheck(operator.unpack_integers, (bits, len(x), 4, torch.float32))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"levels": 0}, r"neuron\.levels is 0; expected D"),
        ({"levels": 128}, r"neuron\.levels is 128"),
        ({"levels": 2.5}, r"neuron\.levels is 2\.5"),
        ({"decay": 1.5}, r"neuron\.decay is 1\.5"),
        ({"input_scale": 0.0}, r"neuron\.input_scale is 0\.0"),
        ({"v_threshold": 0.0}, r"neuron\.v_threshold is 0\.0"),
        ({"backend": "triton"}, r"neuron\.backend is 'triton'"),
    ],
)
def test_arguments_outside_their_range_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ILIF(**arguments)
