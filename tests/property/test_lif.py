"""The compiled neurons against the reference, over shapes, steps, strides, types and constants."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from emsyolo.neuron.kernels import operator, reference
from emsyolo.neuron.lif import LIF, Backend

DYADIC = st.sampled_from([0.25, 0.5, 1.0, 2.0])
SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.integers(1, 7))
DTYPES = st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16])


@st.composite
def laid_out(draw: st.DrawFn, x: Tensor) -> Tensor:
    """The values of x `[T, N, C, H, W]` in memory of any kind: axes in any order, cut out of more, or repeated."""
    order = draw(st.permutations(range(5)))
    y = x.permute(order).contiguous().permute([order.index(axis) for axis in range(5)])
    kind = draw(st.sampled_from(["dense", "cut out", "one step for all"]))
    if kind == "cut out":
        wider = torch.zeros(*y.shape[:-1], 2 * y.shape[-1], dtype=y.dtype)
        wider[..., 1::2] = y
        return wider[..., 1::2]
    return y[:1].expand(len(y), -1, -1, -1, -1) if kind == "one step for all" else y


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    steps=st.integers(1, 11),
    shape=SHAPES,
    dtype=DTYPES,
    decay=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    v_threshold=DYADIC,
    width=DYADIC,
    soft=st.booleans(),
    seed=st.integers(0, 99),
)
def test_numba_is_the_reference(
    data: st.DataObject,
    steps: int,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    decay: float,
    v_threshold: float,
    width: float,
    soft: bool,
    seed: int,
) -> None:
    """On multiples of 1/8, where no type rounds and ties are common: equal."""
    generator = torch.Generator().manual_seed(seed)
    exact = (torch.randn(steps, *shape, generator=generator, dtype=torch.float64) * 8).round() / 8
    x = data.draw(laid_out(exact.to(dtype))).requires_grad_()
    v = data.draw(laid_out((torch.rand(1, *shape, generator=generator) * 8).round() / 8))[0].to(torch.float64)
    upstream = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(dtype)
    constants = {"decay": decay, "v_threshold": v_threshold, "surrogate_width": width}
    start = v.to(torch.promote_types(dtype, torch.float32))
    expected, last = reference.lif_steps(x, start, soft_reset=soft, **constants)
    spikes, bits, potential = operator.lif(x, start, decay, v_threshold, width, soft, keep=True)
    if decay in (0.0, 1.0) or dtype == torch.float64:  # else potentials of many steps have more digits than float32
        assert torch.equal(spikes, expected)
        assert torch.equal(potential, last)
    else:
        torch.testing.assert_close(potential, last, rtol=1e-6, atol=1e-6)
    assert torch.equal(operator.unpack(bits, steps, dtype), spikes)
    gradients = [torch.autograd.grad(one, x, upstream, retain_graph=True)[0] for one in (spikes, expected)]
    half = dtype.itemsize == 2  # the reference sums gradients in that type, this one in float32
    near = {torch.float64: 1e-12, torch.float32: 1e-6}.get(dtype, 2e-2)
    torch.testing.assert_close(*gradients, rtol=near, atol=near * (4 * steps if half else 1))


@settings(max_examples=60, deadline=None)
@given(
    steps=st.integers(1, 40),
    neurons=st.integers(1, 300),
    decay=st.floats(0, 0.99),
    v_threshold=st.floats(0.1, 3),
    width=st.floats(0.1, 3),
    soft=st.booleans(),
    seed=st.integers(0, 99),
)
def test_float32_is_float64_away_from_ties(
    steps: int, neurons: int, decay: float, v_threshold: float, width: float, soft: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    # One set of numbers for both types: those that float32 has.
    decay, v_threshold, width = (torch.tensor(one).item() for one in (decay, v_threshold, width))
    x = torch.randn(steps, 1, neurons, generator=generator)
    upstream = torch.randn(steps, 1, neurons, generator=generator)
    u, near = torch.zeros(1, neurons, dtype=torch.float64), torch.full((1, neurons), math.inf, dtype=torch.float64)
    for current in x.double():
        u = decay * u + current
        distance = u - v_threshold
        for edge in (0, width / 2, -width / 2):
            near = torch.minimum(near, (distance - edge).abs())
        u = torch.where(distance >= 0, distance if soft else 0.0, u)
    clear = near[0] > 1e-4  # neurons that never come close to the threshold or to an edge of the window
    assume(clear.any())
    results = []
    for exact in (x, x.double()):
        leaf = exact.clone().requires_grad_()
        spikes, _, _ = operator.lif(leaf, None, decay, v_threshold, width, soft, keep=True)
        (gradient,) = torch.autograd.grad(spikes, leaf, upstream.to(exact.dtype))
        results.append((spikes[..., clear].double(), gradient[..., clear].double()))
    assert torch.equal(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("backend", ["torch", "numba", "spikingjelly"])
@settings(max_examples=15, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 5), min_size=1, max_size=5),
    start=st.sampled_from([0.0, 0.5]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 99),
)
def test_parts_of_a_sequence_are_the_sequence(
    backend: Backend, cuts: list[int], start: float, dtype: torch.dtype, seed: int
) -> None:
    x = torch.randn(sum(cuts), 2, 3, 4, 5, generator=torch.Generator().manual_seed(seed)).to(dtype)
    node = LIF(decay=0.7, v_threshold=0.8, start=start, backend=backend)
    whole = node(x)
    node.reset()
    assert torch.equal(torch.cat([node(part) for part in x.split(cuts)]), whole)
    assert torch.equal(whole, LIF(decay=0.7, v_threshold=0.8, start=start, backend="torch")(x))


@pytest.mark.parametrize("soft", [False, True])
def test_thousands_of_steps(soft: bool) -> None:
    x = torch.randn(4000, 1, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    constants = {"decay": 0.9, "v_threshold": 1.0, "surrogate_width": 1.0}
    expected, last = reference.lif_steps(x, None, soft_reset=soft, **constants)
    spikes, _, potential = operator.lif(x, None, *constants.values(), soft, keep=True)
    assert torch.equal(spikes, expected)
    assert torch.equal(potential, last)
    gradients = [torch.autograd.grad(one.sum(), x)[0] for one in (spikes, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    steps=st.integers(1, 40),
    shape=SHAPES,
    rule=st.sampled_from([(-math.inf, 0.0, False), (0.0, 1.0, True), (-10.0, 10.0, False), (-0.5, 1.0, False)]),
    seed=st.integers(0, 99),
)
def test_integrate_and_fire_is_the_reference(
    data: st.DataObject, steps: int, shape: tuple[int, ...], rule: tuple[float, float, bool], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = data.draw(laid_out((torch.randn(steps, *shape, generator=generator) * 8).round() / 4))
    v, net = torch.rand(shape, generator=generator), torch.randint(3, shape, generator=generator).float()
    negative, repay, needs_spike = rule
    expected = reference.if_steps(x, v, net, negative=negative, repay=repay, needs_spike=needs_spike)
    for wanted, found in zip(expected, operator.if_steps(x, v, net, *rule), strict=True):
        assert torch.equal(wanted, found)
    # What went in is what came out, and what is left.
    spikes, last, _ = expected
    back = (spikes < 0).sum(dim=0) * (repay if repay else 0)
    torch.testing.assert_close(x.sum(dim=0) + v, last + (spikes > 0).sum(dim=0) - back, rtol=1e-4, atol=1e-4)
