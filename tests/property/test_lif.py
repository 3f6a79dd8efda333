"""The compiled neuron against the reference, over shapes, steps, strides and constants."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emsyolo.neuron.kernels import operator, reference

DYADIC = st.sampled_from([0.25, 0.5, 1.0, 2.0])


@settings(max_examples=40, deadline=None)
@given(
    steps=st.integers(1, 11),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.integers(1, 7)),
    order=st.permutations(range(4)),
    decay=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    v_threshold=DYADIC,
    width=DYADIC,
    soft=st.booleans(),
    seed=st.integers(0, 99),
)
def test_numba_is_the_reference(
    steps: int,
    shape: tuple[int, ...],
    order: list[int],
    decay: float,
    v_threshold: float,
    width: float,
    soft: bool,
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = (torch.randn(steps, *shape, generator=generator, dtype=torch.float64) * 8).round() / 8
    x = x.permute(0, *(1 + axis for axis in order)).contiguous()
    x = x.permute(0, *(1 + order.index(axis) for axis in range(4))).requires_grad_()  # the axes in another order
    upstream = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    constants = {"decay": decay, "v_threshold": v_threshold, "surrogate_width": width}
    expected, last = reference.lif_steps(x, torch.zeros_like(x[0]), soft_reset=soft, **constants)
    spikes, _, v = operator.lif(x, None, decay, v_threshold, width, soft, keep=True)
    assert torch.equal(spikes, expected)
    assert torch.equal(v, last)
    gradients = [torch.autograd.grad(one, x, upstream, retain_graph=True)[0] for one in (spikes, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)
