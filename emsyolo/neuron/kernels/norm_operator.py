"""The neurons together with the normalisation before them, as operators of torch: `torch.ops.emsyolo.norm_lif`,
`.norm_ilif`.

What the normalisation gives is never written to memory. Forward it is one pass; the backward pass is that of the neuron
and then that of the normalisation, which keep what they keep apart: bits, and the maps that are normalised.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from emsyolo.neuron.kernels import gpu, normalised
from emsyolo.neuron.kernels.direct import Direct
from emsyolo.neuron.kernels.layout import (
    bytes_for,
    dense_rows,
    left_over,
    like_rows,
    potential_dtype,
    potentials,
    rows_for,
)
from emsyolo.neuron.kernels.operator import BOTH, run_ilif_backward, run_lif_backward


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


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    x, mean, var, weight, _, eps, batch, *_, keep, _ = inputs
    ctx.wanted = [ctx.needs_input_grad[0], ctx.needs_input_grad[3], ctx.needs_input_grad[4]]
    if any(ctx.wanted) and not keep:
        raise ValueError("emsyolo::norm_lif, emsyolo::norm_ilif: something needs a gradient; expected keep=True")
    ctx.eps, ctx.batch = eps, batch
    ctx.save_for_backward(x, mean, var, weight, output[1])
    ctx.mark_non_differentiable(output[1], output[2])


def _setup_binary(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    _setup(ctx, inputs, output)
    _, width, soft_reset, _, _ = inputs[9:]
    ctx.constants = (inputs[8], width, soft_reset)


def _setup_integer(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    _setup(ctx, inputs, output)
    ctx.constants = inputs[8:11]


def _through_norm(
    ctx: Any, grad: Tensor, x: Tensor, mean: Tensor, var: Tensor, weight: Tensor
) -> tuple[Tensor | None, ...]:
    """The gradients of x, mean, var, weight and bias from that of the currents; that of x has those of mean and var."""
    statistics = (mean, (var + ctx.eps).rsqrt()) if ctx.batch else (None, None)
    to_x, to_weight, to_bias = torch.ops.aten.native_batch_norm_backward(
        grad.flatten(0, 1), x.flatten(0, 1), weight, mean, var, *statistics, ctx.batch, ctx.eps, ctx.wanted
    )
    return None if to_x is None else to_x.unflatten(0, x.shape[:2]), None, None, to_weight, to_bias


def _backward_binary(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    *saved, bits = ctx.saved_tensors  # asked for once: recomputed tensors are given once
    return *_through_norm(ctx, run_lif_backward(grad, bits, *ctx.constants), *saved), *[None] * 9


def _backward_integer(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    *saved, bits = ctx.saved_tensors
    return *_through_norm(ctx, run_ilif_backward(grad, bits, *ctx.constants), *saved), *[None] * 8


norm_lif.register_autograd(_backward_binary, setup_context=_setup_binary)
norm_ilif.register_autograd(_backward_integer, setup_context=_setup_integer)
run_norm_lif = Direct(norm_lif, _norm_lif, _setup_binary, _backward_binary)
run_norm_ilif = Direct(norm_ilif, _norm_ilif, _setup_integer, _backward_integer)
