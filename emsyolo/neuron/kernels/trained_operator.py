"""The neurons with a decay per channel as operators of torch, for CPUs: `torch.ops.emsyolo.plif`, `.pilif`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from emsyolo.neuron.kernels import trained
from emsyolo.neuron.kernels.direct import differentiable
from emsyolo.neuron.kernels.layout import like_rows, potential_dtype, rows_for, rows_of
from emsyolo.neuron.kernels.operator import unpack_integers


def _plif(
    x: Tensor,
    v: Tensor | None,
    decays: Tensor,
    v_threshold: float,
    surrogate_width: float,
    soft_reset: bool,
    keep: bool,
    spike_dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Spikes of currents; see `emsyolo.neuron.plif.PLIF` for the equation. The reset is detached.

    Args:
        x: currents `[T, N, C, *]`, float16, bfloat16, float32 or float64, in any memory format.
        v: potential `[N, C, *]` before the first step; None is 0. No gradient flows into it.
        decays: `[C]`, of the potentials' dtype.
        v_threshold, surrogate_width: > 0.
        soft_reset: a spike takes `v_threshold` from the potential instead of setting it to 0.
        keep: what the backward pass needs.
        spike_dtype: see `operator.lif`.

    Returns:
        Spikes `[T, N, C, *]`; bits, as those of `operator.ilif` for D = 1; the potential after the last step
        `[N, C, *]`, at least float32; what was left after each of the others, `[T-1, N, C, *]` (no row without `keep`).
    """
    return trained.binary_forward(
        x,
        v,
        decays,
        v_threshold=v_threshold,
        surrogate_width=surrogate_width,
        soft_reset=soft_reset,
        keep=keep,
        spike_dtype=spike_dtype,
    )


plif = torch.library.custom_op("emsyolo::plif", _plif, mutates_args=(), device_types="cpu")


@plif.register_fake
def _(
    x: Tensor,
    v: Tensor | None,
    decays: Tensor,
    v_threshold: float,
    surrogate_width: float,
    soft_reset: bool,
    keep: bool,
    spike_dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return _outputs(x, 1, keep, spike_dtype)


def _pilif(
    x: Tensor,
    v: Tensor | None,
    decays: Tensor,
    input_scale: float,
    levels: int,
    keep: bool,
    spike_dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Integer spikes of currents; see `emsyolo.neuron.pilif.PILIF` for the equation. The reset is detached.

    Args:
        x, v, decays, keep, spike_dtype: see `plif`.
        input_scale: > 0.
        levels: D, 1 to 127.

    Returns:
        As `plif`, the bits as those of `operator.ilif`.
    """
    return trained.integer_forward(
        x, v, decays, input_scale=input_scale, levels=levels, keep=keep, spike_dtype=spike_dtype
    )


pilif = torch.library.custom_op("emsyolo::pilif", _pilif, mutates_args=(), device_types="cpu")


@pilif.register_fake
def _(
    x: Tensor,
    v: Tensor | None,
    decays: Tensor,
    input_scale: float,
    levels: int,
    keep: bool,
    spike_dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return _outputs(x, levels, keep, spike_dtype)


def _outputs(
    x: Tensor, levels: int, keep: bool, spike_dtype: torch.dtype | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x = rows_of(x)
    real = potential_dtype(x.dtype)
    bits = like_rows(x, rows_for(len(x), levels) if keep else 0, torch.uint8)
    left = like_rows(x, len(x) - 1 if keep else 0, real)
    return like_rows(x, len(x), spike_dtype or x.dtype), bits, like_rows(x, 1, real)[0], left


@torch.library.custom_op("emsyolo::trained_backward", mutates_args=(), device_types="cpu")
def backward(
    grad: Tensor,
    bits: Tensor,
    left: Tensor,
    v: Tensor | None,
    decays: Tensor,
    slope: float,
    input_scale: float,
    stops: bool,
    levels: int,
) -> tuple[Tensor, Tensor]:
    """The gradients of the currents `[T, N, C, *]` and of the decays `[C]` from that of the spikes.

    Args:
        grad: of the spikes.
        bits, left: of the forward pass.
        v, decays: its inputs.
        slope: of a spike inside the window.
        input_scale: of the currents.
        stops: a spike stops the gradient, since it sets the potential to 0.
        levels: D; 1 for binary spikes.
    """
    return trained.backward(
        grad, bits, left, v, decays, slope=slope, input_scale=input_scale, stops=stops, levels=levels
    )


@backward.register_fake
def _(
    grad: Tensor,
    bits: Tensor,
    left: Tensor,
    v: Tensor | None,
    decays: Tensor,
    slope: float,
    input_scale: float,
    stops: bool,
    levels: int,
) -> tuple[Tensor, Tensor]:
    return like_rows(bits, len(grad), grad.dtype), torch.empty_like(decays)


def unpack_binary(bits: Tensor, steps: int, dtype: torch.dtype) -> Tensor:
    """The spikes `[steps, N, C, *]` again, from the bits of `plif`."""
    spikes: Tensor = unpack_integers(bits, steps, 1, dtype)
    return spikes


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...], keep: bool) -> None:
    if (ctx.needs_input_grad[0] or ctx.needs_input_grad[2]) and not keep:
        raise ValueError("emsyolo::plif, emsyolo::pilif: currents or decays need a gradient; expected keep=True")
    _, bits, last, left = output
    ctx.save_for_backward(bits, left, inputs[1], inputs[2])
    ctx.mark_non_differentiable(bits, last, left)


def _setup_binary(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _, _, _, _, width, soft_reset, keep, _ = inputs
    _setup(ctx, inputs, output, keep)
    ctx.constants = (1 / width, 1.0, not soft_reset, 1)


def _setup_integer(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _, _, _, input_scale, levels, keep, _ = inputs
    _setup(ctx, inputs, output, keep)
    ctx.constants = (1.0, input_scale, False, levels)


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor, None, Tensor]:
    to_x, to_decays = backward(grad, *ctx.saved_tensors, *ctx.constants)
    return to_x, None, to_decays


def _backward_binary(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return *_gradients(ctx, grad), *[None] * 5


def _backward_integer(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return *_gradients(ctx, grad), *[None] * 4


run_plif = differentiable(plif, _plif, _setup_binary, _backward_binary)
run_pilif = differentiable(pilif, _pilif, _setup_integer, _backward_integer)
