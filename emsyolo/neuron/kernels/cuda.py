"""The neurons for a GPU: what each kernel of `lif.cu` is given, and what it gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from emsyolo.neuron.kernels.launch import THREADS, VECTOR_BYTES, aligned, launch, real_type, run
from emsyolo.neuron.kernels.layout import (
    Chain,
    bytes_for,
    dense_rows,
    extent,
    in_order_of,
    integer_fields,
    left_over,
    like_rows,
    potential_dtype,
    potentials,
    rows_for,
    rows_of,
    together,
)

SUM_BLOCKS = 2048  # that sum per channel: enough for any GPU, and on all of them the same sums
SUM_ITEMS = 4  # that a thread of theirs adds up at least, if there are as many


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
    steps, neurons = extent(x)
    spikes = like_rows(x, steps, x.dtype)
    bits = like_rows(x, bytes_for(steps), torch.uint8) if keep else None
    before, after = potentials(x, v, last=last)
    row = 0 if x.stride(0) == 0 else neurons
    real = real_type(x.dtype)
    launch(
        "lif_forward", x.dtype, neurons,
        x, np.int64(row), before, after, spikes, bits, np.int64(neurons), np.int32(steps),
        real(decay), real(v_threshold), real(surrogate_width / 2), np.int32(soft_reset),
    )  # fmt: skip
    return spikes, like_rows(x, 0, torch.uint8) if bits is None else bits, left_over(x, after)


def integrate(
    x: Tensor, v: Tensor, net: Tensor, *, negative: float, repay: float, needs_spike: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """As `reference.if_steps`."""
    x = rows_of(x)
    steps, neurons = extent(x)
    spikes = like_rows(x, steps, x.dtype)
    last, total = like_rows(x, 1, x.dtype).copy_(v), like_rows(x, 1, x.dtype).copy_(net)
    real = real_type(x.dtype)
    launch(
        "if_forward", x.dtype, neurons,
        x, np.int64(0 if x.stride(0) == 0 else neurons), last, total, spikes, np.int64(neurons), np.int32(steps),
        real(negative), real(repay), np.int32(needs_spike),
    )  # fmt: skip
    return spikes, last[0], total[0]


def backward(grad: Tensor, bits: Tensor, *, decay: float, surrogate_width: float, soft_reset: bool) -> Tensor:
    """As `compiled.backward`."""
    grad = in_order_of(grad, bits)
    steps, neurons = extent(grad)
    out, real = like_rows(bits, steps, grad.dtype), real_type(grad.dtype)
    launch(
        "lif_backward", grad.dtype, neurons,
        grad, bits, out, np.int64(neurons), np.int32(steps), real(decay), real(1 / surrogate_width),
        np.int32(soft_reset),
    )  # fmt: skip
    return out


def unpack(bits: Tensor, steps: int, dtype: torch.dtype) -> Tensor:
    """As `compiled.unpack`."""
    spikes = like_rows(bits, steps, dtype)
    neurons = extent(bits)[1]
    launch("lif_unpack", dtype, neurons, bits, spikes, np.int64(neurons), np.int32(steps))
    return spikes


def integer_forward(
    x: Tensor, v: Tensor | None, *, decay: float, input_scale: float, levels: int, keep: bool, last: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """As `integer.forward`."""
    x = rows_of(x)
    steps, neurons = extent(x)
    spikes = like_rows(x, steps, x.dtype)
    bits = like_rows(x, rows_for(steps, levels), torch.uint8) if keep else None
    before, after = potentials(x, v, last=last)
    real = real_type(x.dtype)
    width, per_byte = integer_fields(levels)
    launch(
        "ilif_forward", x.dtype, neurons,
        x, np.int64(0 if x.stride(0) == 0 else neurons), before, after, spikes, bits, np.int64(neurons),
        np.int32(steps), real(decay), real(input_scale), real(levels), np.int32(width), np.int32(per_byte),
    )  # fmt: skip
    return spikes, like_rows(x, 0, torch.uint8) if bits is None else bits, left_over(x, after)


def integer_backward(grad: Tensor, bits: Tensor, *, decay: float, input_scale: float, levels: int) -> Tensor:
    """As `integer.backward`."""
    grad = in_order_of(grad, bits)
    steps, neurons = extent(grad)
    out, real = like_rows(bits, steps, grad.dtype), real_type(grad.dtype)
    width, per_byte = integer_fields(levels)
    launch(
        "ilif_backward", grad.dtype, neurons,
        grad, bits, out, np.int64(neurons), np.int32(steps), real(decay), real(input_scale), np.int32(width),
        np.int32(per_byte),
    )  # fmt: skip
    return out


def integer_unpack(bits: Tensor, steps: int, levels: int, dtype: torch.dtype) -> Tensor:
    """As `integer.unpack`."""
    spikes = like_rows(bits, steps, dtype)
    neurons = extent(bits)[1]
    width, per_byte = integer_fields(levels)
    launch(
        "ilif_unpack", dtype, neurons, bits, spikes, np.int64(neurons), np.int32(steps),
        np.int32(width), np.int32(per_byte),
    )  # fmt: skip
    return spikes


def norm_forward(
    x: Tensor,
    scale: Tensor,
    shift: Tensor,
    add: Tensor | None,
    v: Tensor | None,
    *,
    decay: float,
    v_threshold: float,
    surrogate_width: float,
    soft_reset: bool,
    keep: bool,
    last: bool,
    total: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As `normalised.lif_forward`."""
    real = real_type(x.dtype)
    constants = (real(decay), real(v_threshold), real(surrogate_width / 2), np.int32(soft_reset))
    rows = bytes_for(x.shape[0]) if keep else 0
    return _norm("norm_lif_forward", x, scale, shift, add, v, constants, rows, last=last, total=total)


def norm_integer_forward(
    x: Tensor,
    scale: Tensor,
    shift: Tensor,
    add: Tensor | None,
    v: Tensor | None,
    *,
    decay: float,
    input_scale: float,
    levels: int,
    keep: bool,
    last: bool,
    total: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As `normalised.integer_forward`."""
    real = real_type(x.dtype)
    fields = [np.int32(one) for one in integer_fields(levels)]
    constants = (real(decay), real(input_scale), real(levels), *fields)
    rows = rows_for(x.shape[0], levels) if keep else 0
    return _norm("norm_ilif_forward", x, scale, shift, add, v, constants, rows, last=last, total=total)


def _norm(
    name: str,
    x: Tensor,
    scale: Tensor,
    shift: Tensor,
    add: Tensor | None,
    v: Tensor | None,
    constants: tuple[Any, ...],
    rows: int,
    *,
    last: bool,
    total: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x = dense_rows(x)
    steps, neurons = extent(x)
    added = None if add is None else in_order_of(add, x)
    spikes, bits = like_rows(x, steps, x.dtype), like_rows(x, rows, torch.uint8)
    sums = like_rows(x, steps if total else 0, x.dtype)
    before, after = potentials(x, v, last=last)
    launch(
        name, x.dtype, neurons,
        x, scale, shift, np.int32(scale.shape[0]), np.int64(together(x)), added, sums if total else None, before, after,
        spikes, bits if rows else None, np.int64(neurons), np.int32(steps), *constants,
    )  # fmt: skip
    return spikes, bits, left_over(x, after), sums


def norm_backward(
    grad: Tensor,
    bits: Tensor,
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor,
    eps: float,
    more: Tensor | None,
    chain: Chain,
    *,
    batch: bool,
    joins: bool,
    to_x: bool,
    to_norm: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As `normalised_backward.norm_backward`."""
    grad, x = in_order_of(grad.to(x.dtype), bits), in_order_of(x, bits)
    other = None if more is None else in_order_of(more.to(x.dtype), bits)
    steps, neurons = extent(x)
    joined = like_rows(bits, steps if joins else 0, x.dtype)
    dtype, real, kept = x.dtype, real_type(x.dtype), potential_dtype(x.dtype)
    channels, stride = mean.shape[0], together(bits)
    own_mean, own_var, own_weight = (one.to(kept).contiguous() for one in (mean, var, weight))
    rule = (real(chain.decay), real(chain.slope), *(np.int32(one) for one in chain[2:]))
    where, sizes = (np.int32(channels), np.int64(stride)), (np.int64(neurons), np.int32(steps))
    parts, sums = 0, own_mean  # none, of which nothing is read
    if (batch or to_norm or joins) and neurons:
        maps = (grad, bits, x, other, joined if joins else None)
        wide = aligned(dtype, channels if stride == 1 else stride, *maps)
        parts, columns, blocks = _sum_grid(neurons, channels, stride, VECTOR_BYTES // dtype.itemsize if wide else 1)
        sums = own_mean.new_empty(parts, 2, channels)
        run(
            "norm_sum", dtype, blocks, wide,
            *maps, own_mean, *where, sums, *sizes, *rule, np.int32(columns),
        )  # fmt: skip
    found = own_mean.new_empty(6, channels)  # factors of four kinds, gradients of weight and bias
    run(
        "norm_finish", dtype, max(1, -(-channels // THREADS)), False,
        sums, np.int32(parts), own_mean, own_var, own_weight, np.int32(channels), real(eps),
        real(x.numel() / max(1, channels)), np.int32(batch), found[4], found[5], found,
    )  # fmt: skip
    out = like_rows(bits, steps if to_x else 0, dtype)
    if to_x:
        through = (joined, None) if joins else (grad, bits)
        # Without bits all of them are ones, and each step's gradient is its own.
        own = (real(0), real(1), np.int32(1), np.int32(1), np.int32(0), np.int32(steps)) if joins else rule
        launch(
            "norm_through", dtype, neurons, *through, x if batch else None, found, *where, out, *sizes, *own
        )  # fmt: skip
    return out, joined, found[4].to(weight.dtype), found[5].to(weight.dtype)


def _sum_grid(neurons: int, channels: int, stride: int, lanes: int) -> tuple[int, int, int]:
    """Parts of the sums per channel, columns of a block, and blocks, where a thread takes so many neurons at once."""
    side = stride == 1
    every = channels // lanes if side else channels
    columns = min(every, THREADS) if side else 1
    across, items = -(-every // columns), neurons // channels // (1 if side else lanes)
    parts = max(1, min(-(-SUM_BLOCKS // across), -(-items // (THREADS // columns * SUM_ITEMS))))
    return parts, columns, parts * across
