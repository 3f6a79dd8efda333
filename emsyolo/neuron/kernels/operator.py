"""The multi-step neurons as operators of torch: `torch.ops.emsyolo.lif`, its backward pass, its spikes again;
the same of the integer-valued neuron, `emsyolo.ilif`; the IF of converted networks, `emsyolo.if_steps`; and
max-pooling, for CPUs.

Numba computes them on a CPU, CuPy or Triton on a GPU (`gpu.py`). `torch.compile` and autograd know them: what is kept
for the backward pass is one byte per neuron and four steps.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from emsyolo.neuron.kernels import compiled, gpu, integer, integrate, pool
from emsyolo.neuron.kernels.direct import Direct, differentiable
from emsyolo.neuron.kernels.layout import bytes_for, left_over, like_rows, potentials, rows_for, rows_of

BOTH = ("cpu", "cuda")


def _lif(
    x: Tensor,
    v: Tensor | None,
    decay: float,
    v_threshold: float,
    surrogate_width: float,
    soft_reset: bool,
    keep: bool,
    spike_dtype: torch.dtype | None = None,
    last: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """Spikes of currents; see `emsyolo.neuron.lif.lif` for the equation. The reset is detached.

    Args:
        x: currents `[T, N, *]`, float16, bfloat16, float32 or float64, in any memory format.
        v: potential `[N, *]` before the first step; None is 0. No gradient flows into it.
        decay: in [0, 1]; 1 is integrate and fire.
        v_threshold: > 0.
        surrogate_width: > 0.
        soft_reset: a spike takes `v_threshold` from the potential instead of setting it to 0.
        keep: what the backward pass needs.
        spike_dtype: of the spikes: uint8 for convolutions in 8 bits, on a CPU, without a gradient; None is x's.
        last: the potential after the last step is wanted.

    Returns:
        Spikes `[T, N, *]`; bits `[ceil(T/4), N, *]`, uint8 (no row without `keep`): bit t of a byte says
        that the neuron fired in its t-th step, bit 4 + t that its potential lay in the window; the potential after
        the last step `[N, *]`, at least float32 (`[0]` without `last`).
    """
    constants: dict[str, Any] = {
        "decay": decay,
        "v_threshold": v_threshold,
        "surrogate_width": surrogate_width,
        "soft_reset": soft_reset,
        "keep": keep,
        "last": last,
    }
    if x.device.type == "cuda":
        _check_spike_dtype(x, spike_dtype)
        return gpu.kernels().forward(x, v, **constants)
    return compiled.forward(x, v, **constants, spike_dtype=spike_dtype)


def _check_spike_dtype(x: Tensor, spike_dtype: torch.dtype | None) -> None:
    if spike_dtype not in (None, x.dtype):
        raise ValueError(f"spike_dtype is {spike_dtype}; on CUDA spikes are of the currents' dtype")


lif = torch.library.custom_op("emsyolo::lif", _lif, mutates_args=(), device_types=BOTH)


@lif.register_fake
def _(
    x: Tensor,
    v: Tensor | None,
    decay: float,
    v_threshold: float,
    surrogate_width: float,
    soft_reset: bool,
    keep: bool,
    spike_dtype: torch.dtype | None = None,
    last: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    x = rows_of(x)
    bits = like_rows(x, bytes_for(len(x)) if keep else 0, torch.uint8)
    _, after = potentials(x, None, last=last)
    return like_rows(x, len(x), spike_dtype or x.dtype), bits, left_over(x, after)


def _lif_backward(grad: Tensor, bits: Tensor, decay: float, surrogate_width: float, soft_reset: bool) -> Tensor:
    """The gradient of the currents `[T, N, *]` from that of the spikes."""
    backward = gpu.kernels().backward if bits.device.type == "cuda" else compiled.backward
    return backward(grad, bits, decay=decay, surrogate_width=surrogate_width, soft_reset=soft_reset)


lif_backward = torch.library.custom_op("emsyolo::lif_backward", _lif_backward, mutates_args=(), device_types=BOTH)
run_lif_backward = Direct(lif_backward, _lif_backward)


@lif_backward.register_fake
def _(grad: Tensor, bits: Tensor, decay: float, surrogate_width: float, soft_reset: bool) -> Tensor:
    return like_rows(bits, len(grad), grad.dtype)


def _unpack(bits: Tensor, steps: int, dtype: torch.dtype) -> Tensor:
    """The spikes `[steps, N, *]` again, from the bits of `lif`."""
    return (gpu.kernels().unpack if bits.device.type == "cuda" else compiled.unpack)(bits, steps, dtype)


unpack = torch.library.custom_op("emsyolo::unpack", _unpack, mutates_args=(), device_types=BOTH)
run_unpack = Direct(unpack, _unpack)


@unpack.register_fake
def _(bits: Tensor, steps: int, dtype: torch.dtype) -> Tensor:
    return like_rows(bits, steps, dtype)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    _, _, decay, _, width, soft_reset, keep, _, _ = inputs
    if ctx.needs_input_grad[0] and not keep:
        raise ValueError("emsyolo::lif: the currents need a gradient; expected keep=True")
    ctx.decay, ctx.width, ctx.soft_reset = decay, width, soft_reset
    ctx.save_for_backward(output[1])
    ctx.mark_non_differentiable(output[1], output[2])


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    (bits,) = ctx.saved_tensors
    return run_lif_backward(grad, bits, ctx.decay, ctx.width, ctx.soft_reset), *[None] * 8


run_lif = differentiable(lif, _lif, _setup, _backward)


def _ilif(
    x: Tensor,
    v: Tensor | None,
    decay: float,
    input_scale: float,
    levels: int,
    keep: bool,
    spike_dtype: torch.dtype | None = None,
    last: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """Integer spikes of currents; see `emsyolo.neuron.ilif.ilif` for the equation. The reset is detached.

    Args:
        x: currents `[T, N, *]`, float16, bfloat16, float32 or float64, in any memory format.
        v: potential `[N, *]` before the first step; None is 0. No gradient flows into it.
        decay: in [0, 1].
        input_scale: > 0.
        levels: D, 1 to 127.
        keep: what the backward pass needs.
        spike_dtype, last: see `lif`.

    Returns:
        Spikes `[T, N, *]`; bits, uint8, as many rows `[N, *]` as `layout.rows_for` says (none without `keep`): fields
        of `layout.integer_fields` bits per step, the lowest for a potential in [0, D], the others the spike; the
        potential after the last step `[N, *]`, at least float32 (`[0]` without `last`).
    """
    constants: dict[str, Any] = {"decay": decay, "input_scale": input_scale, "levels": levels}
    constants |= {"keep": keep, "last": last}
    if x.device.type == "cuda":
        _check_spike_dtype(x, spike_dtype)
        return gpu.kernels().integer_forward(x, v, **constants)
    return integer.forward(x, v, **constants, spike_dtype=spike_dtype)


ilif = torch.library.custom_op("emsyolo::ilif", _ilif, mutates_args=(), device_types=BOTH)


@ilif.register_fake
def _(
    x: Tensor,
    v: Tensor | None,
    decay: float,
    input_scale: float,
    levels: int,
    keep: bool,
    spike_dtype: torch.dtype | None = None,
    last: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    x = rows_of(x)
    bits = like_rows(x, rows_for(len(x), levels) if keep else 0, torch.uint8)
    _, after = potentials(x, None, last=last)
    return like_rows(x, len(x), spike_dtype or x.dtype), bits, left_over(x, after)


def _ilif_backward(grad: Tensor, bits: Tensor, decay: float, input_scale: float, levels: int) -> Tensor:
    """The gradient of the currents `[T, N, *]` from that of the spikes."""
    backward = gpu.kernels().integer_backward if bits.device.type == "cuda" else integer.backward
    return backward(grad, bits, decay=decay, input_scale=input_scale, levels=levels)


ilif_backward = torch.library.custom_op("emsyolo::ilif_backward", _ilif_backward, mutates_args=(), device_types=BOTH)
run_ilif_backward = Direct(ilif_backward, _ilif_backward)


@ilif_backward.register_fake
def _(grad: Tensor, bits: Tensor, decay: float, input_scale: float, levels: int) -> Tensor:
    return like_rows(bits, len(grad), grad.dtype)


def _unpack_integers(bits: Tensor, steps: int, levels: int, dtype: torch.dtype) -> Tensor:
    """The spikes `[steps, N, *]` again, from the bits of `ilif`."""
    unpacked = gpu.kernels().integer_unpack if bits.device.type == "cuda" else integer.unpack
    return unpacked(bits, steps, levels, dtype)


unpack_integers = torch.library.custom_op(
    "emsyolo::unpack_integers", _unpack_integers, mutates_args=(), device_types=BOTH
)
run_unpack_integers = Direct(unpack_integers, _unpack_integers)


@unpack_integers.register_fake
def _(bits: Tensor, steps: int, levels: int, dtype: torch.dtype) -> Tensor:
    return like_rows(bits, steps, dtype)


def _setup_integer(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    _, _, decay, input_scale, levels, keep, _, _ = inputs
    if ctx.needs_input_grad[0] and not keep:
        raise ValueError("emsyolo::ilif: the currents need a gradient; expected keep=True")
    ctx.decay, ctx.input_scale, ctx.levels = decay, input_scale, levels
    ctx.save_for_backward(output[1])
    ctx.mark_non_differentiable(output[1], output[2])


def _backward_integer(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    (bits,) = ctx.saved_tensors
    return run_ilif_backward(grad, bits, ctx.decay, ctx.input_scale, ctx.levels), *[None] * 7


run_ilif = differentiable(ilif, _ilif, _setup_integer, _backward_integer)


@torch.library.custom_op("emsyolo::if_steps", mutates_args=(), device_types="cpu")
def if_steps(
    x: Tensor, v: Tensor, net: Tensor, negative: float, repay: float, needs_spike: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Spikes `[T, *]` in {-1, 0, 1}, potential and net number after the last step; see `reference.if_steps`."""
    return integrate.forward(x, v, net, negative=negative, repay=repay, needs_spike=needs_spike)


@if_steps.register_kernel("cuda")
def _(
    x: Tensor, v: Tensor, net: Tensor, negative: float, repay: float, needs_spike: bool
) -> tuple[Tensor, Tensor, Tensor]:
    return gpu.kernels().integrate(x, v, net, negative=negative, repay=repay, needs_spike=needs_spike)


@if_steps.register_fake
def _(
    x: Tensor, v: Tensor, net: Tensor, negative: float, repay: float, needs_spike: bool
) -> tuple[Tensor, Tensor, Tensor]:
    x = rows_of(x)
    return like_rows(x, len(x), x.dtype), like_rows(x, 1, x.dtype)[0], like_rows(x, 1, x.dtype)[0]


def _max_pool2(x: Tensor, keep: bool) -> tuple[Tensor, Tensor]:
    """Maxima of windows of 2x2, `[N, C, H//2, W//2]` of `[N, C, H, W]`, and, with `keep`, their places (uint8)."""
    return pool.forward(x, keep)


max_pool2 = torch.library.custom_op("emsyolo::max_pool2", _max_pool2, mutates_args=(), device_types="cpu")


@max_pool2.register_fake
def _(x: Tensor, keep: bool) -> tuple[Tensor, Tensor]:
    return pool.outputs(x, keep)


@torch.library.custom_op("emsyolo::max_pool2_backward", mutates_args=(), device_types="cpu")
def max_pool2_backward(grad: Tensor, winners: Tensor, height: int, width: int) -> Tensor:
    """The gradient of the input `[N, C, height, width]`."""
    return pool.backward(grad, winners, height, width)


@max_pool2_backward.register_fake
def _(grad: Tensor, winners: Tensor, height: int, width: int) -> Tensor:
    return pool.gradient(grad, winners, height, width)


def _setup_pool(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, keep = inputs
    if ctx.needs_input_grad[0] and not keep:
        raise ValueError("emsyolo::max_pool2: the input needs a gradient; expected keep=True")
    ctx.size_hw = x.shape[-2:]
    ctx.save_for_backward(output[1])
    ctx.mark_non_differentiable(output[1])


def _backward_pool(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
    (winners,) = ctx.saved_tensors
    return max_pool2_backward(grad, winners, *ctx.size_hw), None


run_max_pool2 = differentiable(max_pool2, _max_pool2, _setup_pool, _backward_pool)
