"""The neurons for a GPU without CuPy: `triton_source.py`, `triton_norm_source.py`, compiled at run time by Triton."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from emsyolo.neuron.kernels import triton_norm_source as norm_source
from emsyolo.neuron.kernels import triton_source as source
from emsyolo.neuron.kernels.layout import (
    Chain,
    bytes_for,
    check_dtype,
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

BLOCK = 1024  # neurons of a program
# Adding and taking away 1.5 * 2^(mantissa bits - 1) rounds to the nearest whole number, ties to even.
ROUNDING = {torch.float32: 12582912.0, torch.float64: 6755399441055744.0}
REAL = {torch.float32: tl.float32, torch.float64: tl.float64}
SUM_PROGRAMS = 1024  # that sum per channel: enough for any GPU, and on all of them the same sums


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
    constants = {"DECAY": decay, "V_THRESHOLD": v_threshold, "HALF_WIDTH": surrogate_width / 2, "SOFT": soft_reset}
    rows = bytes_for(x.shape[0]) if keep else 0
    return _norm(norm_source.forward, x, scale, shift, add, v, constants, rows, last=last, total=total)


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
    width, per_byte = integer_fields(levels)
    constants = {"DECAY": decay, "SCALE": input_scale, "LEVELS": float(levels), "WIDTH": width, "PER_BYTE": per_byte}
    constants["ROUNDING"] = ROUNDING[potential_dtype(x.dtype)]
    rows = rows_for(x.shape[0], levels) if keep else 0
    return _norm(norm_source.integer_forward, x, scale, shift, add, v, constants, rows, last=last, total=total)


def _norm(
    kernel: Any,
    x: Tensor,
    scale: Tensor,
    shift: Tensor,
    add: Tensor | None,
    v: Tensor | None,
    constants: dict[str, Any],
    rows: int,
    *,
    last: bool,
    total: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x = dense_rows(x)
    steps, neurons = extent(x)
    spikes, bits = like_rows(x, steps, x.dtype), like_rows(x, rows, torch.uint8)
    sums = like_rows(x, steps if total else 0, x.dtype)
    before, after = potentials(x, v, last=last)
    _launch(
        kernel, x, neurons,
        (
            x, scale, shift, x if add is None else in_order_of(add, x), sums if total else spikes,
            x if before is None else before, spikes if after is None else after, spikes, bits, x.shape[2], together(x),
        ),
        steps, **constants, STARTS=v is not None, KEEP=rows > 0, LAST=last, ADDS=add is not None, TOTAL=total,
        SMALL=_small(neurons),
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
    real, channels, lie_together = potential_dtype(x.dtype), mean.shape[0], together(bits)
    own_mean, own_var, own_weight = (one.to(real).contiguous() for one in (mean, var, weight))
    rule = {name.upper(): value for name, value in chain._asdict().items()}
    where = channels, lie_together
    parts, sums = 0, own_mean  # none, of which nothing is read
    if (batch or to_norm or joins) and neurons:
        rows, columns, across, parts = _tiles(neurons, channels, lie_together)
        sums = own_mean.new_empty(parts, 2, channels)
        maps = (grad, bits, x, x if other is None else other, joined if joins else x)
        _start(
            norm_source.sums, x, (parts, across), (*maps, own_mean, sums, *where, neurons, steps), **rule,
            MORE=other is not None, JOINS=joins, SIDE=lie_together == 1, ROWS=rows, COLUMNS=columns,
        )  # fmt: skip
    found = own_mean.new_empty(6, channels)  # factors of four kinds, gradients of weight and bias
    if channels:
        statistics = (sums, own_mean, own_var, own_weight, found, channels, parts, x.numel() // channels)
        with _device(x):
            norm_source.finish[(triton.cdiv(channels, BLOCK),)](
                *statistics, EPS=eps, BATCH=batch, BLOCK=BLOCK, enable_fp_fusion=False
            )
    out = like_rows(bits, steps if to_x else 0, x.dtype)
    if to_x:
        _launch(
            norm_source.through, x, neurons, (joined if joins else grad, bits, x, found, out, *where), steps, **rule,
            JOINED=joins, BATCH=batch, SMALL=_small(neurons),
        )  # fmt: skip
    return out, joined, found[4].to(weight.dtype), found[5].to(weight.dtype)


def _tiles(neurons: int, channels: int, lie_together: int) -> tuple[int, int, int, int]:
    """Of the sums per channel: rows and columns of a program's tile, columns of tiles, and parts."""
    side = lie_together == 1
    columns = min(BLOCK, triton.next_power_of_2(channels if side else lie_together))
    rows = BLOCK // columns
    across = triton.cdiv(channels, columns) if side else channels
    tiles = triton.cdiv(neurons // channels // lie_together, rows) * (1 if side else triton.cdiv(lie_together, columns))
    return rows, columns, across, max(1, min(tiles, triton.cdiv(SUM_PROGRAMS, across)))


def _small(neurons: int) -> bool:
    """Whether places of neurons, and a little more, fit into 32 bits."""
    return neurons + BLOCK < 2**31


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
    if neurons:
        _start(kernel, like, (triton.cdiv(neurons, BLOCK),), (*arguments, neurons, steps), **constants, BLOCK=BLOCK)


def _start(
    kernel: Any, like: Tensor, grid: tuple[int, ...], arguments: tuple[Tensor | int, ...], **constants: Any
) -> None:
    check_dtype(like.dtype)
    half = like.dtype == torch.bfloat16
    maps = [x.view(torch.int16) if isinstance(x, Tensor) and x.dtype == torch.bfloat16 else x for x in arguments]
    with _device(like):
        kernel[grid](
            *maps, **constants, BFLOAT16=half, REAL=REAL[potential_dtype(like.dtype)],
            enable_fp_fusion=False,  # as `launch.options`
        )  # fmt: skip


def _device(x: Tensor) -> AbstractContextManager[object]:
    """That of a map is the current one within."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()
