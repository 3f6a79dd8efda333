"""The way back through a neuron and its normalisation at once: what autograd finds through the plain reference."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from emsyolo.neuron.kernels import norm_operator, reference

EPS = 1e-5
SHAPES = {"planes": (5, 2, 3, 6, 10), "more than a part": (2, 1, 5, 90, 82), "wider than a block": (3, 1, 2100, 2, 3)}


def in_layout(x: Tensor, layout: str) -> Tensor:
    if layout == "channels last":
        return x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, x.shape[:2])
    return x.transpose(-1, -2).contiguous().transpose(-1, -2) if layout == "H and W swapped" else x


def run(kind: str, x: Tensor, norm: tuple[Tensor, ...], batch: bool) -> Tensor:
    """Spikes by the operators."""
    if kind == "integers":
        return norm_operator.run_norm_ilif(x, *norm, EPS, batch, None, 0.25, 0.7, 4, True, False)[0]
    soft = kind == "soft"
    return norm_operator.run_norm_lif(x, *norm, EPS, batch, None, 0.25, 0.5, 0.8, soft, True, False)[0]


def plain(kind: str, x: Tensor, norm: tuple[Tensor, ...], batch: bool) -> Tensor:
    """Spikes by torch and the reference; where the maps' own statistics are taken, gradients flow through them."""
    mean, var, weight, bias = norm
    statistics = (None, None) if batch else (mean, var)
    y = F.batch_norm(x.flatten(0, 1), *statistics, weight, bias, training=batch, eps=EPS).unflatten(0, x.shape[:2])
    if kind == "integers":
        return reference.ilif_steps(y, None, decay=0.25, input_scale=0.7, levels=4)[0]
    constants = {"decay": 0.25, "v_threshold": 0.5, "surrogate_width": 0.8, "soft_reset": kind == "soft"}
    return reference.lif_steps(y, None, **constants)[0]


def case(shape: tuple[int, ...], layout: str = "contiguous") -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
    """Maps away from 0, their normalisation, and a gradient of the spikes; float64."""
    torch.manual_seed(0)
    x = in_layout(torch.randn(shape, dtype=torch.float64) * 2 + 5, layout)
    var, mean = torch.var_mean(x, dim=(0, 1, 3, 4), correction=0)
    weight, bias = torch.randn(2, shape[2], dtype=torch.float64)
    return x, (mean, var, weight, bias), torch.randn(shape, dtype=torch.float64)


def gradients(call: Any, kind: str, x: Tensor, norm: tuple[Tensor, ...], batch: bool, grad: Tensor) -> list[Tensor]:
    leaves = [one.detach().requires_grad_() for one in (x, *norm[2:])]
    spikes = call(kind, leaves[0], (*norm[:2], *leaves[1:]), batch)
    return [spikes.detach(), *torch.autograd.grad(spikes, leaves, grad)]


@pytest.mark.parametrize("batch", [True, False], ids=["own statistics", "given statistics"])
@pytest.mark.parametrize("layout", ["contiguous", "channels last", "H and W swapped"])
@pytest.mark.parametrize("kind", ["hard", "soft", "integers"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_gradients_are_the_references(shape: tuple[int, ...], kind: str, layout: str, batch: bool) -> None:
    x, norm, grad = case(shape, layout)
    found, wanted = (gradients(call, kind, x, norm, batch, grad) for call in (run, plain))
    assert torch.equal(found[0], wanted[0])
    for one, other in zip(found[1:], wanted[1:], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12 * other.abs().max().item())


@pytest.mark.parametrize("layout", ["contiguous", "channels last"])
@pytest.mark.parametrize(("dtype", "share"), [(torch.float32, 1e-6), (torch.bfloat16, 4e-3)], ids=str)
def test_they_are_rounded_at_the_end_only(dtype: torch.dtype, share: float, layout: str) -> None:
    x, norm, grad = case(SHAPES["more than a part"], layout)
    x, grad = x.to(dtype), grad.to(dtype)  # the same numbers for both
    exact = tuple(one.float().double() for one in norm)
    few = tuple(one.float() for one in norm)
    _, bits, _ = norm_operator._norm_lif(x, *few, EPS, True, None, 0.25, 0.5, 0.8, False, True, False)
    chain = norm_operator.binary_chain(0.25, 0.8, soft_reset=False)
    results = []
    for numbers, maps in ((few, (grad, bits, x)), (exact, (grad.double(), bits, x.double()))):
        results.append(norm_operator._norm_backward(*maps, *numbers[:3], EPS, True, *chain, True, True))
    for found, wanted in zip(*results, strict=True):
        error = (found.double() - wanted).norm() / wanted.norm()
        assert error < share
    assert results[0][0].dtype == dtype
    assert results[0][1].dtype == torch.float32


@pytest.mark.parametrize("layout", ["contiguous", "channels last"])
def test_sums_do_not_depend_on_the_number_of_threads(layout: str) -> None:
    x, norm, grad = case((2, 2, 5, 180, 82), layout)
    x, grad, norm = x.float(), grad.float(), tuple(one.float() for one in norm)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(gradients(run, "hard", x, norm, True, grad))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(one, same) for one, same in zip(found[0], other, strict=True))


@pytest.mark.parametrize("wanted", [(True, False), (False, True)], ids=["maps", "weights"])
def test_only_what_is_wanted_is_computed(wanted: tuple[bool, bool]) -> None:
    x, norm, grad = case(SHAPES["planes"])
    every = gradients(run, "hard", x, norm, False, grad)[1:]
    leaf = x.clone().requires_grad_(wanted[0])
    weight = norm[2].clone().requires_grad_(wanted[1])
    spikes = run("hard", leaf, (*norm[:2], weight, norm[3]), False)
    spikes.backward(grad)
    for one, other, is_wanted in ((leaf.grad, every[0], wanted[0]), (weight.grad, every[1], wanted[1])):
        assert (one is None) != is_wanted
        assert one is None or torch.equal(one, other)


def test_torch_knows_the_way_back() -> None:
    x, norm, grad = case(SHAPES["planes"])
    bits = norm_operator._norm_ilif(x, *norm, EPS, True, None, 0.25, 0.7, 4, True, False)[1]
    chain = norm_operator.integer_chain(0.25, 0.7, 4)
    given = (grad, bits, x, *norm[:3], EPS, True, *chain, True, True)
    torch.library.opcheck(norm_operator.norm_backward, given, test_utils=("test_schema", "test_faketensor"))
