"""The operators give what the reference gives, for every type and order of memory, and torch knows them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from spikingjelly.activation_based.neuron import BaseNode
from torch import Tensor, nn

from emsyolo.app import build_detector
from emsyolo.neuron.integrate import IF
from emsyolo.neuron.kernels import operator, reference
from emsyolo.neuron.lif import LIF
from emsyolo.neuron.memory import Memory, set_memory

CONSTANTS = {"decay": 0.25, "v_threshold": 0.5, "surrogate_width": 1.0}
LAYOUTS = {
    "contiguous": lambda x: x,
    "channels_last": lambda x: x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, x.shape[:2]),
    "one step": lambda x: x[:1],
    "still image": lambda x: x[:1].expand(6, -1, -1, -1, -1),
    "every second column": lambda x: x[..., ::2],
    "steps reversed": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
}


def eighths(*shape: int, dtype: torch.dtype) -> Tensor:
    """Multiples of 1/8, on which every type computes without rounding, and ties with the threshold are common."""
    return ((torch.randn(shape, dtype=torch.float64) * 8).round() / 8).to(dtype)


@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_spikes_potential_and_gradient_are_the_references(layout: str, dtype: torch.dtype, soft: bool) -> None:
    torch.manual_seed(0)
    x = LAYOUTS[layout](eighths(6, 2, 40, 6, 10, dtype=dtype)).requires_grad_()
    v = eighths(*x.shape[1:], dtype=dtype)
    upstream = eighths(*x.shape, dtype=dtype)
    expected, last = reference.lif_steps(x, v, soft_reset=soft, **CONSTANTS)
    spikes, bits, potential = operator.lif(x, v, *CONSTANTS.values(), soft, keep=True)
    assert spikes.dtype == dtype
    assert torch.equal(spikes, expected)
    assert torch.equal(potential, last)
    assert torch.equal(operator.unpack(bits, len(x), dtype), expected)
    (gradient,) = torch.autograd.grad(spikes, x, upstream)
    (wanted,) = torch.autograd.grad(expected, x, upstream)
    half = dtype in (torch.float16, torch.bfloat16)  # the reference sums gradients in that type, this one in float32
    torch.testing.assert_close(gradient, wanted, rtol=1e-2 if half else 1e-12, atol=3e-2 if half else 1e-12)


def test_bfloat16_gradients_are_those_of_float32_rounded() -> None:
    torch.manual_seed(0)
    x, upstream = torch.randn(5, 1, 3, 8, 8), torch.randn(5, 1, 3, 8, 8).bfloat16()
    _, bits, _ = operator.lif(x, None, *CONSTANTS.values(), False, keep=True)
    half = operator.lif_backward(upstream, bits, 0.25, 1.0, False)
    exact = operator.lif_backward(upstream.float(), bits, 0.25, 1.0, False)
    assert torch.equal(half, exact.bfloat16())


def test_bits_of_one_neuron_by_hand() -> None:
    # u: 0.25 inside | 0.5625 fires, inside | 1.25 fires, outside | -0.25 outside | 0.1875 inside
    x = torch.tensor([0.25, 0.5, 1.25, -0.25, 0.25]).view(-1, 1, 1)
    spikes, bits, last = operator.lif(x, None, *CONSTANTS.values(), False, keep=True)
    assert spikes.flatten().tolist() == [0, 1, 1, 0, 0]
    assert bits.flatten().tolist() == [0b0011_0110, 0b0001_0000]
    assert last.item() == 0.1875


def test_nothing_is_kept_for_a_backward_pass_that_will_not_come() -> None:
    kept: list[Tensor] = []
    x, node = torch.randn(5, 1, 3, 4, 5), LIF()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        node(x)
        assert not kept
        node.reset()
        node(x.requires_grad_())
    assert [(t.dtype, t.numel()) for t in kept] == [(torch.uint8, 2 * x[0].numel())]


def test_currents_that_need_a_gradient_need_their_bits() -> None:
    with pytest.raises(ValueError, match="expected keep=True"):
        operator.lif(torch.randn(2, 1, 3, requires_grad=True), None, *CONSTANTS.values(), False, keep=False)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_torch_knows_the_operators(layout: str) -> None:
    torch.manual_seed(0)
    x = LAYOUTS[layout](torch.randn(6, 2, 3, 4, 6))
    _, bits, _ = operator.lif(x, None, *CONSTANTS.values(), False, keep=True)
    # Not test_autograd_registration's own gradcheck: the gradient is a surrogate.
    tests = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_static")
    torch.library.opcheck(
        operator.lif, (x.detach().requires_grad_(), None, *CONSTANTS.values(), False, True), test_utils=tests
    )
    torch.library.opcheck(operator.lif_backward, (x, bits, 0.25, 1.0, False))
    torch.library.opcheck(operator.unpack, (bits, len(x), torch.float32))
    torch.library.opcheck(operator.if_steps, (x, torch.rand_like(x[0]), torch.zeros_like(x[0]), 0.0, 1.0, True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_torch_knows_every_form_of_the_operator(dtype: torch.dtype) -> None:
    x = torch.randn(5, 2, 3, 4, 6).to(dtype)
    v = torch.rand(2, 3, 4, 6).to(torch.promote_types(dtype, torch.float32))
    for start in (None, v):
        for soft in (False, True):
            torch.library.opcheck(operator.lif, (x, start, *CONSTANTS.values(), soft, False))
    torch.library.opcheck(operator.lif, (x, v, *CONSTANTS.values(), False, False, torch.uint8))
    torch.library.opcheck(operator.lif, (x, v, *CONSTANTS.values(), False, False, None, False))
    torch.library.opcheck(operator.ilif, (x, v, 0.25, 1.0, 4, False, None, False))


@pytest.mark.parametrize("run", [operator.lif, operator.ilif], ids=["lif", "ilif"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_potential_that_nobody_asks_for_changes_nothing_else(layout: str, run: Callable[..., Any]) -> None:
    x = LAYOUTS[layout](torch.randn(6, 2, 3, 4, 6))
    v = torch.rand(x.shape[1:])
    constants = (*CONSTANTS.values(), False) if run is operator.lif else (0.25, 1.0, 4)
    for start in (None, v):
        spikes, bits, last = run(x, start, *constants, True)
        found = run(x, start, *constants, True, None, False)
        assert torch.equal(found[0], spikes)
        assert torch.equal(found[1], bits)
        assert found[2].shape == (0,)
        assert last.shape == x.shape[1:]
    assert (v >= 0).all()  # as it was: it is read, not written


def test_a_compiled_network_has_no_graph_break() -> None:
    layers = nn.Sequential(nn.Linear(6, 5), LIF(), nn.Linear(5, 4), LIF())
    x = torch.randn(5, 3, 6)
    compiled = torch.compile(layers, backend="aot_eager", fullgraph=True)
    results = []
    for run in (layers, compiled):
        for module in (layers[1], layers[3]):
            module.reset()
        layers.zero_grad()
        out = run(x)
        out.sum().backward()
        assert layers[0].weight.grad is not None
        results.append((out.detach(), layers[0].weight.grad.clone(), layers[1].v))
    for eager, traced in zip(*results, strict=True):
        torch.testing.assert_close(eager, traced)


@pytest.mark.parametrize("memory", ["plain", "packed", "recompute"])
@pytest.mark.parametrize("model", ["ems_small", "spiking_yolov3_fc"])
def test_a_compiled_detector_gives_the_same_gradients(model: str, memory: Memory) -> None:
    depth = ["model.depth=[1,1,1,1]"] if model == "ems_small" else []
    original = build_detector(model, 3, 2, ["model.width=0.125", *depth]).train()
    set_memory(original, memory)
    frames = torch.rand(1, 2, 3, 64, 96)
    results = []
    for compiled in (False, True):
        detector = copy.deepcopy(original)
        if compiled:  # what is computed anew is a graph of its own, by design
            detector.compile(backend="aot_eager", fullgraph=memory != "recompute")
        maps = detector(frames).maps
        sum(one.square().mean() for one in maps).backward()
        results.append([*maps, *(p.grad for p in detector.parameters())])
    for eager, traced in zip(*results, strict=True):
        torch.testing.assert_close(eager, traced)


def test_a_compiled_converted_neuron_has_no_graph_break() -> None:
    x = torch.randn(5, 2, 3, 4, 6)
    results = []
    for run in (lambda one: one, lambda one: torch.compile(one, backend="aot_eager", fullgraph=True)):
        node = IF(torch.tensor([0.5, 1.0, 2.0]), start=0.5, rule="signed")
        results.append(torch.cat([run(node)(x), run(node)(x)]))
    assert torch.equal(*results)


@pytest.mark.parametrize("node", [LIF(), LIF(backend="torch"), IF(torch.ones(3))], ids=["LIF", "torch", "IF"])
def test_potentials_of_other_maps_are_refused(node: BaseNode) -> None:
    node(torch.randn(2, 1, 3, 4, 6))
    with pytest.raises(
        ValueError, match=r"potentials are \[1, 3, 4, 6\], the currents of a step \[2, 3, 4, 6\]; reset"
    ):
        node(torch.randn(2, 2, 3, 4, 6))


def test_a_reset_that_is_not_detached_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"neuron\.detach_reset=true"):
        LIF(backend="numba", detach_reset=False)


def test_gradcheck_of_the_surrogates_own_form() -> None:
    """The rectangle is the derivative of a ramp: where every potential lies on the ramp, numeric and ours agree."""
    decay, threshold, width = 0.5, 1.0, 2.5

    def ramp(x: Tensor) -> Tensor:
        """The neuron with the ramp for the step, but the reset that the spikes have."""
        v, out = torch.zeros_like(x[0]), []
        for current in x:
            u = decay * v + current
            out.append(((u - threshold) / width + 0.5).clamp(0, 1))
            v = u * (u < threshold)
        return torch.stack(out)

    torch.manual_seed(0)
    x = (torch.rand(6, 2, 3, dtype=torch.float64) * 1.2 - 0.1).requires_grad_()
    assert torch.autograd.gradcheck(ramp, x)
    weight = torch.randn(6, 2, 3, dtype=torch.float64)
    (wanted,) = torch.autograd.grad((ramp(x) * weight).sum(), x)
    spikes, _, _ = operator.lif(x, None, decay, threshold, width, False, keep=True)
    (gradient,) = torch.autograd.grad((spikes * weight).sum(), x)
    torch.testing.assert_close(gradient, wanted, rtol=1e-12, atol=1e-12)
