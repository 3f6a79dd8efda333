"""The neurons for a GPU without CuPy: `triton_source.py`, compiled at run time by Triton."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from emsyolo.neuron.kernels import triton_source as source
from emsyolo.neuron.kernels.layout import (
    bytes_for,
    check_dtype,
    in_order_of,
    integer_fields,
    left_over,
    like_rows,
    potential_dtype,
    potentials,
    rows_for,
    rows_of,
)

BLOCK = 1024  # neurons of a program
# Adding and taking away 1.5 * 2^(mantissa bits - 1) rounds to the nearest whole number, ties to even.
ROUNDING = {torch.float32: 12582912.0, torch.float64: 6755399441055744.0}
REAL = {torch.float32: tl.float32, torch.float64: tl.float64}


def forward(
    x: Tensor,
    v: Tensor | None,
    *,
    decay: float,
    v_threshold: float,
    surrogate_width: float,
    soft_reset: bool,
    keep: bool,
    last: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """As `compiled.forward`."""
    x = rows_of(x)
    spikes = like_rows(x, len(x), x.dtype)
    bits = like_rows(x, bytes_for(len(x)) if keep else 0, torch.uint8)
    before, after = potentials(x, v, last=last)
    _launch(
        source.forward, x, x[0].numel(), _pointers(x, before, after, spikes, bits), len(x),
        DECAY=decay, V_THRESHOLD=v_threshold, HALF_WIDTH=surrogate_width / 2, SOFT=soft_reset, STARTS=v is not None,
        KEEP=keep, LAST=last,
    )  # fmt: skip
    return spikes, bits, left_over(x, after)


def backward(grad: Tensor, bits: Tensor, *, decay: float, surrogate_width: float, soft_reset: bool) -> Tensor:
    """As `compiled.backward`."""
    grad = in_order_of(grad, bits)
    out = like_rows(bits, len(grad), grad.dtype)
    constants = {"DECAY": decay, "SLOPE": 1 / surrogate_width, "SOFT": soft_reset}
    _launch(source.backward, grad, bits[0].numel(), (grad, bits, out), len(grad), **constants)
    return out


def unpack(bits: Tensor, steps: int, dtype: torch.dtype) -> Tensor:
    """As `compiled.unpack`."""
    spikes = like_rows(bits, steps, dtype)
    _launch(source.unpack, spikes, bits[0].numel(), (bits, spikes), steps, WIDTH=1, PER_BYTE=4, LOWEST=0, LARGEST=1)
    return spikes


def integer_forward(
    x: Tensor, v: Tensor | None, *, decay: float, input_scale: float, levels: int, keep: bool, last: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """As `integer.forward`."""
    x = rows_of(x)
    spikes = like_rows(x, len(x), x.dtype)
    bits = like_rows(x, rows_for(len(x), levels) if keep else 0, torch.uint8)
    before, after = potentials(x, v, last=last)
    width, per_byte = integer_fields(levels)
    _launch(
        source.integer_forward, x, x[0].numel(), _pointers(x, before, after, spikes, bits), len(x),
        DECAY=decay, SCALE=input_scale, LEVELS=float(levels), ROUNDING=ROUNDING[potential_dtype(x.dtype)], WIDTH=width,
        PER_BYTE=per_byte, STARTS=v is not None, KEEP=keep, LAST=last,
    )  # fmt: skip
    return spikes, bits, left_over(x, after)


def integer_backward(grad: Tensor, bits: Tensor, *, decay: float, input_scale: float, levels: int) -> Tensor:
    """As `integer.backward`."""
    grad = in_order_of(grad, bits)
    out = like_rows(bits, len(grad), grad.dtype)
    width, per_byte = integer_fields(levels)
    constants = {"DECAY": decay, "SCALE": input_scale, "WIDTH": width, "PER_BYTE": per_byte}
    _launch(source.integer_backward, grad, bits[0].numel(), (grad, bits, out), len(grad), **constants)
    return out


def integer_unpack(bits: Tensor, steps: int, levels: int, dtype: torch.dtype) -> Tensor:
    """As `integer.unpack`."""
    spikes = like_rows(bits, steps, dtype)
    width, per_byte = integer_fields(levels)
    constants = {"WIDTH": width, "PER_BYTE": per_byte, "LOWEST": 1, "LARGEST": 2 ** (width - 1) - 1}
    _launch(source.unpack, spikes, bits[0].numel(), (bits, spikes), steps, **constants)
    return spikes


def integrate(
    x: Tensor, v: Tensor, net: Tensor, *, negative: float, repay: float, needs_spike: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """As `reference.if_steps`."""
    x = rows_of(x)
    spikes = like_rows(x, len(x), x.dtype)
    last, total = like_rows(x, 1, x.dtype).copy_(v), like_rows(x, 1, x.dtype).copy_(net)
    _launch(
        source.integrate, x, x[0].numel(), (x, _row(x), last, total, spikes), len(x),
        NEGATIVE=negative, REPAY=repay, NEEDS_SPIKE=needs_spike,
    )  # fmt: skip
    return spikes, last[0], total[0]


def _pointers(
    x: Tensor, before: Tensor | None, after: Tensor | None, spikes: Tensor, bits: Tensor
) -> tuple[Tensor | int, ...]:
    """The first arguments of a forward kernel; what it does not touch stands in for potentials that are not there."""
    return x, _row(x), x if before is None else before, spikes if after is None else after, spikes, bits


def _row(x: Tensor) -> int:
    """From one step to the next; 0 where all are the same."""
    return 0 if x.stride(0) == 0 else x[0].numel()


def _launch(
    kernel: Any, like: Tensor, neurons: int, arguments: tuple[Tensor | int, ...], steps: int, **constants: Any
) -> None:
    """Run a kernel over all neurons on torch's current stream; `like` has the dtype of the currents."""
    check_dtype(like.dtype)
    if neurons == 0:
        return
    half = like.dtype == torch.bfloat16
    maps = [x.view(torch.int16) if isinstance(x, Tensor) and x.dtype == torch.bfloat16 else x for x in arguments]
    with torch.cuda.device(like.device) if like.is_cuda else nullcontext():
        kernel[(triton.cdiv(neurons, BLOCK),)](
            *maps, neurons, steps, **constants, BFLOAT16=half, REAL=REAL[potential_dtype(like.dtype)], BLOCK=BLOCK,
            enable_fp_fusion=False,  # as `cuda.options`
        )  # fmt: skip
