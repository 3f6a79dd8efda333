"""The integer-valued neuron for a CPU: all steps in one pass over the memory, compiled by numba.

It computes what the reference computes, and keeps for the backward pass a field of bits per neuron and step: the lowest
says that the potential lay in the box of the gradient, the others hold the spike, a whole number up to `levels`.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from numba import types
from numba.extending import overload
from numpy.typing import NDArray
from torch import Tensor

from emsyolo.neuron.kernels.compiled import BLOCK, SHARE, back_step, float_to_bfloat16, load, memory, potential_rows
from emsyolo.neuron.kernels.layout import (
    in_order_of,
    integer_fields,
    left_over,
    like_rows,
    potential_dtype,
    potentials,
    rows_for,
    rows_of,
)
from emsyolo.neuron.kernels.team import in_team, shared

# Adding and taking away 1.5 * 2^(mantissa bits - 1) rounds to the nearest whole number, ties to even.
ROUNDING = {np.float32: np.float32(12582912.0), np.float64: np.float64(6755399441055744.0)}


def forward(
    x: Tensor,
    v: Tensor | None,
    *,
    decay: float,
    input_scale: float,
    levels: int,
    keep: bool,
    spike_dtype: torch.dtype | None = None,
    last: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """Spikes, bits for the backward pass (no row of them without `keep`) and last potential, as `operator.ilif`."""
    x = rows_of(x)
    dtype, real = spike_dtype or x.dtype, potential_dtype(x.dtype)
    rows = x[:1] if x.stride(0) == 0 else x
    spikes = like_rows(x, len(x), torch.float32 if dtype == torch.float16 else dtype)
    bits = like_rows(x, rows_for(len(x), levels) if keep else 0, torch.uint8)
    before, after = potentials(x, v, last=last)
    number = np.float64 if real == torch.float64 else np.float32
    shared(
        x[0].numel(),
        SHARE,
        _forward,
        _forward_by_all,
        memory(rows if x.dtype != torch.float16 else rows.float()),
        *potential_rows(x, before, after),
        memory(spikes),
        memory(bits),
        number(decay),
        number(input_scale),
        number(levels),
        ROUNDING[number],
        *integer_fields(levels),
    )
    return spikes.to(dtype), bits, left_over(x, after)


def backward(grad: Tensor, bits: Tensor, *, decay: float, input_scale: float, levels: int) -> Tensor:
    """The gradient of the currents from that of the spikes."""
    real = potential_dtype(grad.dtype)
    source = in_order_of(grad.float() if grad.dtype == torch.float16 else grad, bits)
    out = like_rows(bits, len(grad), source.dtype)
    number = np.float64 if real == torch.float64 else np.float32
    arguments = (number(decay), number(input_scale), *integer_fields(levels))
    maps = (memory(source), memory(bits), memory(out))
    shared(bits[0].numel(), SHARE, _backward, _backward_by_all, *maps, *arguments)
    return out.to(grad.dtype)


def unpack(bits: Tensor, steps: int, levels: int, dtype: torch.dtype) -> Tensor:
    """The spikes `[steps, *]` again, from their bits."""
    spikes = like_rows(bits, steps, torch.float32 if dtype == torch.float16 else dtype)
    shared(bits[0].numel(), SHARE, _unpack, _unpack_by_all, memory(bits), memory(spikes), *integer_fields(levels))
    return spikes.to(dtype)


def stored(value: Any, like: Any) -> Any:
    """A whole number as what is stored in an array: in one of int16 a bfloat16."""
    raise NotImplementedError


@overload(stored)
def _stored_of(value: Any, like: Any) -> Any:
    def bfloat16(value: Any, like: Any) -> Any:
        return float_to_bfloat16(np.float32(value))

    def number(value: Any, like: Any) -> Any:
        return value

    return bfloat16 if like.dtype == types.int16 else number


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def integer_step(
    current: NDArray[Any],
    residue: NDArray[Any],
    out: NDArray[Any],
    mark: NDArray[Any],
    place: int,
    decay: Any,
    input_scale: Any,
    levels: Any,
    rounding: Any,
) -> None:
    """One step of a block of neurons; `mark` gets its field from bit `place` on, and is empty if not wanted."""
    nothing = decay - decay
    if len(mark):
        shift = np.uint8(place)
        if shift == 0:
            mark[:] = 0
        for i in range(len(residue)):
            u = load(current[i]) * input_scale + decay * residue[i]
            clipped = min(max(u, nothing), levels)
            sent = (clipped + rounding) - rounding
            field = np.uint8(sent) << np.uint8(1) | np.uint8(clipped == u)
            mark[i] |= np.uint8(field << shift)
            out[i] = stored(sent, out)
            residue[i] = u - sent
    else:
        for i in range(len(residue)):
            u = load(current[i]) * input_scale + decay * residue[i]
            sent = (min(max(u, nothing), levels) + rounding) - rounding
            out[i] = stored(sent, out)
            residue[i] = u - sent


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _forward(
    x: NDArray[Any],
    before: NDArray[Any],
    after: NDArray[Any],
    spikes: NDArray[Any],
    bits: NDArray[Any],
    decay: Any,
    input_scale: Any,
    levels: Any,
    rounding: Any,
    width: int,
    per_byte: int,
    begin: int,
    end: int,
) -> None:
    """Rows of x are steps (one row: the same at every step); before, after and bits have no rows if there are none."""
    nothing = decay - decay
    residues, none = np.empty(BLOCK, before.dtype), np.empty(0, bits.dtype)
    for start in range(begin, end, BLOCK):
        stop = min(start + BLOCK, end)
        residue = residues[: stop - start]
        if len(before):
            residue[:] = before[0, start:stop]
        else:
            residue[:] = nothing
        for t in range(len(spikes)):
            current, out = x[min(t, x.shape[0] - 1), start:stop], spikes[t, start:stop]
            mark = bits[t // per_byte, start:stop] if len(bits) else none
            integer_step(current, residue, out, mark, t % per_byte * width, decay, input_scale, levels, rounding)
        if len(after):
            after[0, start:stop] = residue


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _backward(
    grad: NDArray[Any],
    bits: NDArray[Any],
    out: NDArray[Any],
    decay: Any,
    input_scale: Any,
    width: int,
    per_byte: int,
    begin: int,
    end: int,
) -> None:
    gradients = np.full(BLOCK, decay - decay)
    for start in range(begin, end, BLOCK):
        stop = min(start + BLOCK, end)
        later = gradients[: stop - start]
        later[:] = 0
        for t in range(len(grad) - 1, -1, -1):
            mark, result = bits[t // per_byte, start:stop], out[t, start:stop]
            shift = t % per_byte * width
            back_step(grad[t, start:stop], mark, later, shift, decay, input_scale, np.uint8(1), np.uint8(0))
            for i in range(len(later)):
                result[i] = stored(later[i], result)


@numba.njit(cache=True, nogil=True)
def _unpack(bits: NDArray[Any], spikes: NDArray[Any], width: int, per_byte: int, begin: int, end: int) -> None:
    largest = np.uint8((1 << (width - 1)) - 1)
    for start in range(begin, end, BLOCK):
        stop = min(start + BLOCK, end)
        for t in range(len(spikes)):
            mark, shift = bits[t // per_byte, start:stop], np.uint8(t % per_byte * width + 1)
            out = spikes[t, start:stop]
            for i in range(len(out)):
                out[i] = stored((mark[i] >> shift) & largest, out)


@numba.njit(cache=True, nogil=True)
def _forward_by_all(count: int, threads: int, *arguments: Any) -> None:
    in_team(_forward, count, threads, arguments)  # type: ignore[call-arg]


@numba.njit(cache=True, nogil=True)
def _backward_by_all(count: int, threads: int, *arguments: Any) -> None:
    in_team(_backward, count, threads, arguments)  # type: ignore[call-arg]


@numba.njit(cache=True, nogil=True)
def _unpack_by_all(count: int, threads: int, *arguments: Any) -> None:
    in_team(_unpack, count, threads, arguments)  # type: ignore[call-arg]
