"""The way back through neuron, normalisation and shortcut at once: what autograd finds through the reference."""

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


def run(
    kind: str, x: Tensor, norm: tuple[Tensor, ...], batch: bool, add: Tensor | None = None, total: bool = False
) -> tuple[Tensor, Tensor]:
    """Spikes and currents by the operators."""
    if kind == "integers":
        found = norm_operator.run_norm_ilif(x, *norm, EPS, batch, add, None, 0.25, 0.7, 4, True, False, total)
    else:
        soft = kind == "soft"
        found = norm_operator.run_norm_lif(x, *norm, EPS, batch, add, None, 0.25, 0.5, 0.8, soft, True, False, total)
    return found[0], found[3]


def plain(
    kind: str, x: Tensor, norm: tuple[Tensor, ...], batch: bool, add: Tensor | None = None, total: bool = False
) -> tuple[Tensor, Tensor]:
    """The same by torch and the reference; where the maps' own statistics are taken, gradients flow through them."""
    mean, var, weight, bias = norm
    statistics = (None, None) if batch else (mean, var)
    y = F.batch_norm(x.flatten(0, 1), *statistics, weight, bias, training=batch, eps=EPS).unflatten(0, x.shape[:2])
    if add is not None:
        y = y + add
    if kind == "integers":
        return reference.ilif_steps(y, None, decay=0.25, input_scale=0.7, levels=4)[0], y
    constants = {"decay": 0.25, "v_threshold": 0.5, "surrogate_width": 0.8, "soft_reset": kind == "soft"}
    return reference.lif_steps(y, None, **constants)[0], y


def case(shape: tuple[int, ...], layout: str = "contiguous") -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
    """Maps away from 0, their normalisation, and a gradient of the spikes; float64."""
    torch.manual_seed(0)
    x = in_layout(torch.randn(shape, dtype=torch.float64) * 2 + 5, layout)
    var, mean = torch.var_mean(x, dim=(0, 1, 3, 4), correction=0)
    weight, bias = torch.randn(2, shape[2], dtype=torch.float64)
    return x, (mean, var, weight, bias), torch.randn(shape, dtype=torch.float64)


def gradients(call: Any, kind: str, x: Tensor, norm: tuple[Tensor, ...], batch: bool, grad: Tensor) -> list[Tensor]:
    leaves = [one.detach().requires_grad_() for one in (x, *norm[2:])]
    spikes, _ = call(kind, leaves[0], (*norm[:2], *leaves[1:]), batch)
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


@pytest.mark.parametrize("batch", [True, False], ids=["own statistics", "given statistics"])
@pytest.mark.parametrize("layout", ["contiguous", "channels last", "H and W swapped"])
@pytest.mark.parametrize("kind", ["hard", "integers"])
@pytest.mark.parametrize("read", ["spikes", "currents", "both"])
@pytest.mark.parametrize("adds", [True, False], ids=["a shortcut", "no shortcut"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_currents_with_a_shortcut_are_the_references(
    shape: tuple[int, ...], adds: bool, read: str, kind: str, layout: str, batch: bool
) -> None:
    """Whoever reads spikes or currents, the gradients of all that they come from are autograd's."""
    x, norm, grad = case(shape, layout)
    add = torch.randn(shape, dtype=x.dtype) if adds else None  # in the order of axes that the maps may not have
    results = []
    for call in (run, plain):
        leaves = [one.detach().clone().requires_grad_() for one in (x, *norm[2:], *([] if add is None else [add]))]
        more = leaves[3] if adds else None
        spikes, currents = call(kind, leaves[0], (*norm[:2], *leaves[1:3]), batch, more, read != "spikes")
        outputs = {"spikes": [spikes], "currents": [currents], "both": [spikes, currents]}[read]
        upstream = [grad, grad.flip(0).transpose(-1, -2).contiguous().transpose(-1, -2)][: len(outputs)]
        results.append([*(one.detach() for one in outputs), *torch.autograd.grad(outputs, leaves, upstream)])
    assert torch.equal(results[0][0], results[1][0]) or read == "currents"
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12 * other.abs().max().item())


@pytest.mark.parametrize("layout", ["contiguous", "channels last"])
def test_only_the_shortcut_may_need_a_gradient(layout: str) -> None:
    x, norm, grad = case(SHAPES["planes"], layout)
    add = torch.randn_like(x).requires_grad_()
    found, wanted = (torch.autograd.grad(call("hard", x, norm, True, add)[0], add, grad)[0] for call in (run, plain))
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=0)


@pytest.mark.parametrize("layout", ["contiguous", "channels last"])
@pytest.mark.parametrize(("dtype", "share"), [(torch.float32, 1e-6), (torch.bfloat16, 4e-3)], ids=str)
@pytest.mark.parametrize("joins", [False, True], ids=["neuron", "neuron and shortcut"])
def test_they_are_rounded_when_they_are_written_only(
    dtype: torch.dtype, share: float, joins: bool, layout: str
) -> None:
    x, norm, grad = case(SHAPES["more than a part"], layout)
    x, grad = x.to(dtype), grad.to(dtype)  # the same numbers for both
    exact = tuple(one.float().double() for one in norm)
    few = tuple(one.float() for one in norm)
    _, bits, *_ = norm_operator._norm_lif(x, *few, EPS, True, None, None, 0.25, 0.5, 0.8, False, True, False, False)
    chain = norm_operator.binary_chain(0.25, 0.8, soft_reset=False)
    results = []
    for numbers, maps in ((few, (grad, bits, x)), (exact, (grad.double(), bits, x.double()))):
        more = maps[0].flip(0) if joins else None
        results.append(norm_operator._norm_backward(*maps, *numbers[:3], EPS, True, more, joins, *chain, True, True))
    assert len(results[0][1]) == (len(x) if joins else 0)
    results = [found if joins else (found[0], *found[2:]) for found in results]
    for found, wanted in zip(*results, strict=True):
        error = (found.double() - wanted).norm() / wanted.norm()
        assert error < share
    assert results[0][0].dtype == dtype
    assert results[0][-1].dtype == torch.float32


@pytest.mark.parametrize("layout", ["contiguous", "channels last"])
def test_sums_do_not_depend_on_the_number_of_threads(layout: str) -> None:
    x, norm, grad = case((2, 2, 5, 180, 82), layout)
    x, grad, norm = x.float(), grad.float(), tuple(one.float() for one in norm)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            bits = norm_operator._norm_lif(x, *norm, EPS, True, None, None, 0.25, 0.5, 0.8, False, True, False, False)[
                1
            ]
            chain = norm_operator.binary_chain(0.25, 0.8, soft_reset=False)
            given = (grad, bits, x, *norm[:3], EPS, True)
            alone, joined = (
                norm_operator._norm_backward(*given, more, more is not None, *chain, True, True) for more in (None, x)
            )
            found.append([*alone, *joined])
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
    spikes, _ = run("hard", leaf, (*norm[:2], weight, norm[3]), False)
    spikes.backward(grad)
    for one, other, is_wanted in ((leaf.grad, every[0], wanted[0]), (weight.grad, every[1], wanted[1])):
        assert (one is None) != is_wanted
        assert one is None or torch.equal(one, other)


def test_torch_knows_the_way_back() -> None:
    x, norm, grad = case(SHAPES["planes"])
    bits = norm_operator._norm_ilif(x, *norm, EPS, True, None, None, 0.25, 0.7, 4, True, False, False)[1]
    chain = norm_operator.integer_chain(0.25, 0.7, 4)
    for more in (None, grad):
        given = (grad, bits, x, *norm[:3], EPS, True, more, more is not None, *chain, True, True)
        torch.library.opcheck(norm_operator.norm_backward, given, test_utils=("test_schema", "test_faketensor"))
