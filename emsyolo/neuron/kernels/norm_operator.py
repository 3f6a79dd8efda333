"""The neurons together with the normalisation before them, as operators of torch: `torch.ops.emsyolo.norm_lif`,
`.norm_ilif`.

What the normalisation gives is never written to memory, nor is its gradient. Forward it is one pass; back it is one
that sums per channel, which mean and variance ask for, and one that gives the gradient of the maps. What is kept is
what both keep apart: bits, and the maps that are normalised.
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
        return backend in ("cupy", "kernels") and hasattr(gpu.kernels(), "norm_forward")
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
    v: Tensor | None,
    decay: float,
    v_threshold: float,
    surrogate_width: float,
    soft_reset: bool,
    keep: bool,
    last: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Spikes of normalised maps; see `operator.lif` for the neuron.

    The currents are `reference.normalised` by `scale_and_shift`.

    Args:
        x: `[T, N, C, *]`, bfloat16, float32, float64 or, on CUDA, float16, in any memory format.
        mean, var, weight, bias, eps, batch: see `Normalisation`; `batch` tells the backward pass alone.
        v, decay, v_threshold, surrogate_width, soft_reset, keep, last: see `operator.lif`.

    Returns:
        As `operator.lif`.
    """
    scale, shift = scale_and_shift(x.dtype, mean, var, weight, bias, eps)
    forward = gpu.kernels().norm_forward if x.device.type == "cuda" else normalised.lif_forward
    return forward(
        x,
        scale,
        shift,
        v,
        decay=decay,
        v_threshold=v_threshold,
        surrogate_width=surrogate_width,
        soft_reset=soft_reset,
        keep=keep,
        last=last,
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
    v: Tensor | None,
    decay: float,
    v_threshold: float,
    surrogate_width: float,
    soft_reset: bool,
    keep: bool,
    last: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return _outputs(x, bytes_for(len(x)) if keep else 0, last=last)


def _norm_ilif(
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    batch: bool,
    v: Tensor | None,
    decay: float,
    input_scale: float,
    levels: int,
    keep: bool,
    last: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Integer spikes of normalised maps; see `operator.ilif` for the neuron, `norm_lif` for all else."""
    scale, shift = scale_and_shift(x.dtype, mean, var, weight, bias, eps)
    forward = gpu.kernels().norm_integer_forward if x.device.type == "cuda" else normalised.integer_forward
    return forward(x, scale, shift, v, decay=decay, input_scale=input_scale, levels=levels, keep=keep, last=last)


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
    v: Tensor | None,
    decay: float,
    input_scale: float,
    levels: int,
    keep: bool,
    last: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return _outputs(x, rows_for(len(x), levels) if keep else 0, last=last)


def _outputs(x: Tensor, rows: int, *, last: bool) -> tuple[Tensor, Tensor, Tensor]:
    x = dense_rows(x)
    _, after = potentials(x, None, last=last)
    return like_rows(x, len(x), x.dtype), like_rows(x, rows, torch.uint8), left_over(x, after)


def _norm_backward(
    grad: Tensor,
    bits: Tensor,
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor,
    eps: float,
    batch: bool,
    decay: float,
    slope: float,
    inside: int,
    stops: int,
    width: int,
    per_byte: int,
    to_x: bool,
    to_norm: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of maps, of the weight and of the bias of their normalisation, from that of the spikes.

    Args:
        grad: of the spikes, `[T, N, C, *]`.
        bits: of the forward pass.
        x, mean, var, weight, eps: its inputs.
        batch: the gradient of x has those of mean and var.
        decay, slope, inside, stops, width, per_byte: see `layout.Chain`.
        to_x, to_norm: which of them are wanted; the others are empty or hold anything.
    """
    module = gpu.kernels() if bits.device.type == "cuda" else normalised_backward
    chain = Chain(decay, slope, inside, stops, width, per_byte)
    run = module.norm_backward
    return run(grad, bits, x, mean, var, weight, eps, chain, batch=batch, to_x=to_x, to_norm=to_norm)


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
    decay: float,
    slope: float,
    inside: int,
    stops: int,
    width: int,
    per_byte: int,
    to_x: bool,
    to_norm: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return like_rows(bits, len(grad) if to_x else 0, x.dtype), torch.empty_like(weight), torch.empty_like(weight)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    x, mean, var, weight, _, eps, batch, *_, keep, _ = inputs
    wanted = ctx.needs_input_grad
    ctx.wanted = (wanted[0], wanted[3] or wanted[4])
    if any(ctx.wanted) and not keep:
        raise ValueError("emsyolo::norm_lif, emsyolo::norm_ilif: something needs a gradient; expected keep=True")
    ctx.norm = eps, batch
    ctx.save_for_backward(output[1], x, mean, var, weight)
    ctx.mark_non_differentiable(output[1], output[2])


def _setup_binary(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    _setup(ctx, inputs, output)
    ctx.chain = binary_chain(inputs[8], *inputs[10:12])


def _setup_integer(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    _setup(ctx, inputs, output)
    ctx.chain = integer_chain(*inputs[8:11])


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Of x, mean, var, weight and bias; that of x has those of mean and var."""
    to_x, to_weight, to_bias = run_norm_backward(grad, *ctx.saved_tensors, *ctx.norm, *ctx.chain, *ctx.wanted)
    return to_x if ctx.wanted[0] else None, None, None, to_weight, to_bias


def _backward_binary(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return *_gradients(ctx, grad), *[None] * 9


def _backward_integer(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return *_gradients(ctx, grad), *[None] * 8


run_norm_lif = differentiable(norm_lif, _norm_lif, _setup_binary, _backward_binary)
run_norm_ilif = differentiable(norm_ilif, _norm_ilif, _setup_integer, _backward_integer)
