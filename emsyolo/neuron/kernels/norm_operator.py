"""The neurons together with the normalisation before them and the shortcut that is added to it, as operators of torch:
`torch.ops.emsyolo.norm_lif`, `.norm_ilif`.

What the normalisation gives is never written to memory, nor is its gradient; the sum with a shortcut is written where
somebody else reads it, and its gradient, which is the shortcut's, always. Forward it is one pass; back it is one that
sums per channel, which mean and variance ask for, and one that gives the gradient of the maps. What is kept is what all
of them keep apart: bits, and the maps that are normalised.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from emsyolo.neuron.kernels import gpu, normalised, normalised_backward
from emsyolo.neuron.kernels.direct import Direct, differentiable
from emsyolo.neuron.kernels.layout import (
    Chain,
    binary_chain,
    bytes_for,
    dense_rows,
    integer_chain,
    left_over,
    like_rows,
    potential_dtype,
    potentials,
    rows_for,
)
from emsyolo.neuron.kernels.operator import BOTH


def takes(x: Tensor, backend: str) -> bool:
    """Whether the operators are there for maps of this dtype, for the back-end that a neuron has for them."""
    if x.device.type == "cuda":
        return backend in ("cupy", "kernels")
    return backend == "numba" and x.dtype != torch.float16


def scale_and_shift(
    dtype: torch.dtype, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """What maps of a dtype are multiplied by, and what is added then, `[C]` each, of the potentials' dtype."""
    real = potential_dtype(dtype)
    scale = weight.to(real) * (var.to(real) + eps).rsqrt()
    return scale, bias.to(real) - mean.to(real) * scale


def _norm_lif(
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    batch: bool,
    add: Tensor | None,
    v: Tensor | None,
    decay: float,
    v_threshold: float,
    surrogate_width: float,
    soft_reset: bool,
    keep: bool,
    last: bool,
    total: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Spikes of normalised maps; see `operator.lif` for the neuron.

    The currents are `reference.normalised` by `scale_and_shift`, plus what is to be added.

    Args:
        x: `[T, N, C, *]`, bfloat16, float32, float64 or, on CUDA, float16, in any memory format.
        mean, var, weight, bias, eps, batch: see `Normalisation`; `batch` tells the backward pass alone.
        add: `[T, N, C, *]` of x's dtype, which is added to the normalised maps; None is 0.
        v, decay, v_threshold, surrogate_width, soft_reset, keep, last: see `operator.lif`.
        total: the currents are wanted as well.

    Returns:
        As `operator.lif`, and the currents (without `total`: no row).
    """
    scale, shift = scale_and_shift(x.dtype, mean, var, weight, bias, eps)
    forward = gpu.kernels().norm_forward if x.device.type == "cuda" else normalised.lif_forward
    return forward(
        x,
        scale,
        shift,
        add,
        v,
        decay=decay,
        v_threshold=v_threshold,
        surrogate_width=surrogate_width,
        soft_reset=soft_reset,
        keep=keep,
        last=last,
        total=total,
    )


norm_lif = torch.library.custom_op("emsyolo::norm_lif", _norm_lif, mutates_args=(), device_types=BOTH)


@norm_lif.register_fake
def _(
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    batch: bool,
    add: Tensor | None,
    v: Tensor | None,
    decay: float,
    v_threshold: float,
    surrogate_width: float,
    soft_reset: bool,
    keep: bool,
    last: bool,
    total: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return _outputs(x, bytes_for(len(x)) if keep else 0, last=last, total=total)


def _norm_ilif(
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    batch: bool,
    add: Tensor | None,
    v: Tensor | None,
    decay: float,
    input_scale: float,
    levels: int,
    keep: bool,
    last: bool,
    total: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Integer spikes of normalised maps; see `operator.ilif` for the neuron, `norm_lif` for all else."""
    scale, shift = scale_and_shift(x.dtype, mean, var, weight, bias, eps)
    forward = gpu.kernels().norm_integer_forward if x.device.type == "cuda" else normalised.integer_forward
    constants: dict[str, Any] = {"decay": decay, "input_scale": input_scale, "levels": levels}
    return forward(x, scale, shift, add, v, **constants, keep=keep, last=last, total=total)


norm_ilif = torch.library.custom_op("emsyolo::norm_ilif", _norm_ilif, mutates_args=(), device_types=BOTH)


@norm_ilif.register_fake
def _(
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    batch: bool,
    add: Tensor | None,
    v: Tensor | None,
    decay: float,
    input_scale: float,
    levels: int,
    keep: bool,
    last: bool,
    total: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return _outputs(x, rows_for(len(x), levels) if keep else 0, last=last, total=total)


def _outputs(x: Tensor, rows: int, *, last: bool, total: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x = dense_rows(x)
    _, after = potentials(x, None, last=last)
    spikes, currents = (like_rows(x, count, x.dtype) for count in (len(x), len(x) if total else 0))
    return spikes, like_rows(x, rows, torch.uint8), left_over(x, after), currents


def _norm_backward(
    grad: Tensor,
    bits: Tensor,
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor,
    eps: float,
    batch: bool,
    more: Tensor | None,
    joins: bool,
    decay: float,
    slope: float,
    inside: int,
    stops: int,
    width: int,
    per_byte: int,
    to_x: bool,
    to_norm: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of maps, of the currents, and of the weight and bias of the normalisation, from that of the spikes.

    Args:
        grad: of the spikes, `[T, N, C, *]`.
        bits: of the forward pass.
        x, mean, var, weight, eps: its inputs.
        batch: the gradient of x has those of mean and var.
        more: the gradient of the currents by whoever else reads them, `[T, N, C, *]`; None: nobody does.
        joins: there is `more`, or the gradient of the currents is wanted, which is that of what was added to them;
            else none of its rows is given.
        decay, slope, inside, stops, width, per_byte: see `layout.Chain`.
        to_x, to_norm: which of them are wanted; the others are empty or hold anything.
    """
    module = gpu.kernels() if bits.device.type == "cuda" else normalised_backward
    chain = Chain(decay, slope, inside, stops, width, per_byte)
    run = module.norm_backward
    return run(grad, bits, x, mean, var, weight, eps, more, chain, batch=batch, joins=joins, to_x=to_x, to_norm=to_norm)


norm_backward = torch.library.custom_op("emsyolo::norm_backward", _norm_backward, mutates_args=(), device_types=BOTH)
run_norm_backward = Direct(norm_backward, _norm_backward)


@norm_backward.register_fake
def _(
    grad: Tensor,
    bits: Tensor,
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor,
    eps: float,
    batch: bool,
    more: Tensor | None,
    joins: bool,
    decay: float,
    slope: float,
    inside: int,
    stops: int,
    width: int,
    per_byte: int,
    to_x: bool,
    to_norm: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    maps = (like_rows(bits, len(grad) if wanted else 0, x.dtype) for wanted in (to_x, joins))
    return *maps, torch.empty_like(weight), torch.empty_like(weight)  # type: ignore[return-value]


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, mean, var, weight, _, eps, batch, *_, keep, _, total = inputs
    wanted = ctx.needs_input_grad
    ctx.to_add, ctx.wanted = wanted[7], (wanted[0], wanted[3] or wanted[4])
    if any((*ctx.wanted, ctx.to_add)) and not keep:
        raise ValueError("emsyolo::norm_lif, emsyolo::norm_ilif: something needs a gradient; expected keep=True")
    ctx.norm = eps, batch
    ctx.save_for_backward(output[1], x, mean, var, weight)
    ctx.mark_non_differentiable(*output[1:3], *([] if total else output[3:]))


def _setup_binary(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _setup(ctx, inputs, output)
    ctx.chain = binary_chain(inputs[9], *inputs[11:13])


def _setup_integer(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _setup(ctx, inputs, output)
    ctx.chain = integer_chain(*inputs[9:12])


def _backward(ctx: Any, grad: Tensor | None, more: Tensor | None) -> tuple[Tensor | None, ...]:
    """From the gradients of spikes and currents; that of x has those of mean and var."""
    if grad is None:
        assert more is not None
        grad = torch.zeros_like(more)
    joins = ctx.to_add or more is not None
    to_x, to_add, to_weight, to_bias = run_norm_backward(
        grad, *ctx.saved_tensors, *ctx.norm, more, joins, *ctx.chain, *ctx.wanted
    )
    found = (to_x if ctx.wanted[0] else None, None, None, to_weight, to_bias, None, None)
    rest = ctx.inputs - len(found) - 1
    return *found, to_add if ctx.to_add else None, *(None,) * rest


BOTH_READ = (0, 3)  # spikes and currents
run_norm_lif = differentiable(norm_lif, _norm_lif, _setup_binary, _backward, BOTH_READ)
run_norm_ilif = differentiable(norm_ilif, _norm_ilif, _setup_integer, _backward, BOTH_READ)
