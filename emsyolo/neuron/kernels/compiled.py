"""The leaky integrate-and-fire neuron for a CPU: all steps in one pass over the memory, compiled by numba.

It computes what the reference computes, and keeps for the backward pass two bits per neuron and step: whether it fired,
and whether its potential lay in the surrogate's window.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from numba import types
from numba.extending import intrinsic, overload
from numpy.typing import NDArray
from torch import Tensor

from emsyolo.neuron.kernels.layout import (
    STEPS_PER_BYTE,
    bytes_for,
    extent,
    in_order_of,
    left_over,
    like_rows,
    potential_dtype,
    potentials,
    rows_of,
)
from emsyolo.neuron.kernels.team import in_team, shared

# The bits of 1.0 where numpy has no such type or computes in it slowly.
ONE_BITS = {torch.float16: 0x3C00, torch.bfloat16: 0x3F80}
FIRED, INSIDE = np.uint8(1), np.uint8(16)  # of step 0 of a byte; steps 1 to 3 lie one bit higher each
BLOCK = 2048  # neurons whose potentials stay in the fastest cache while time runs
SHARE = 16 * BLOCK  # neurons that are worth another thread


def forward(
    x: Tensor,
    v: Tensor | None,
    *,
    decay: float,
    v_threshold: float,
    surrogate_width: float,
    soft_reset: bool,
    keep: bool,
    spike_dtype: torch.dtype | None = None,
    last: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """Spikes, bits for the backward pass (no row of them without `keep`) and last potential, as `operator.lif`."""
    x = rows_of(x)
    rows, real = (x[:1] if x.stride(0) == 0 else x), potential_dtype(x.dtype)
    spikes = like_rows(x, len(x), spike_dtype or x.dtype)
    bits = like_rows(x, bytes_for(len(x)) if keep else 0, torch.uint8)
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
        spike_of(spikes.dtype),
        number(decay),
        number(v_threshold),
        number(surrogate_width / 2),
        soft_reset,
    )
    return spikes, bits, left_over(x, after)


def backward(grad: Tensor, bits: Tensor, *, decay: float, surrogate_width: float, soft_reset: bool) -> Tensor:
    """The gradient of the currents from that of the spikes."""
    real = potential_dtype(grad.dtype)
    source = in_order_of(grad.float() if grad.dtype == torch.float16 else grad, bits)
    out = like_rows(bits, len(grad), source.dtype)
    number = np.float64 if real == torch.float64 else np.float32
    arguments = (number(decay), number(1 / surrogate_width), soft_reset)
    maps = (memory(source), memory(bits), memory(out))
    shared(bits[0].numel(), SHARE, _backward, _backward_by_all, *maps, *arguments)
    return out.to(grad.dtype)


def unpack(bits: Tensor, steps: int, dtype: torch.dtype) -> Tensor:
    """The spikes `[steps, *]` again, from their bits."""
    spikes = like_rows(bits, steps, dtype)
    shared(bits[0].numel(), SHARE, _unpack, _unpack_by_all, memory(bits), memory(spikes), spike_of(dtype))
    return spikes


@intrinsic
def _float_of_bits(context: Any, bits: Any) -> Any:
    """The float32 that an int32's bits are."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.float32))

    return types.float32(types.int32), generate


@intrinsic
def _bits_of_float(context: Any, value: Any) -> Any:
    """The bits of a float32 as an int32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.int32))

    return types.int32(types.float32), generate


def load(x: Any) -> Any:
    """What is stored, as a number: an int16 is a bfloat16."""
    raise NotImplementedError


@overload(load)
def _load_of(x: Any) -> Any:
    def bfloat16(x: Any) -> Any:
        return _float_of_bits(np.int32(x) << np.int32(16))  # type: ignore[call-arg]

    def number(x: Any) -> Any:
        return x

    return bfloat16 if isinstance(x, types.Integer) else number


@numba.njit(cache=True, nogil=True, inline="always")
def float_to_bfloat16(value: Any) -> Any:
    """The bits of the nearest bfloat16 to a float32, ties to even."""
    bits: Any = _bits_of_float(value)  # type: ignore[call-arg]
    even = (bits >> np.int32(16)) & np.int32(1)
    return np.int16((bits + np.int32(0x7FFF) + even) >> np.int32(16))


def to_memory(value: Any, like: Any) -> Any:
    """A number as what is stored in an array: in one of int16 a bfloat16, the nearest, ties to even."""
    raise NotImplementedError


@overload(to_memory)
def _memory_of(value: Any, like: Any) -> Any:
    def bfloat16(value: Any, like: Any) -> Any:
        return float_to_bfloat16(value)

    def number(value: Any, like: Any) -> Any:
        return value

    return bfloat16 if isinstance(like.dtype, types.Integer) else number


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def lif_step(
    current: NDArray[Any],
    potential: NDArray[Any],
    out: NDArray[Any],
    mark: NDArray[Any],
    step: int,
    one: Any,
    decay: Any,
    v_threshold: Any,
    half_width: Any,
    soft: bool,
) -> None:
    """One step of a block of neurons; `mark` gets its bits of step `step` of a byte, and is empty if not wanted."""
    zero, nothing = one - one, decay - decay
    if len(mark):
        shift = np.uint8(step)
        if shift == 0:
            mark[:] = 0
        for i in range(len(potential)):
            u = load(current[i]) + decay * potential[i]
            distance = u - v_threshold
            fired = distance >= 0
            both = np.uint8(fired) * FIRED + np.uint8(abs(distance) < half_width) * INSIDE
            mark[i] |= np.uint8(both << shift)
            out[i] = one if fired else zero
            potential[i] = (distance if soft else nothing) if fired else u
    else:
        for i in range(len(potential)):
            u = load(current[i]) + decay * potential[i]
            distance = u - v_threshold
            fired = distance >= 0
            out[i] = one if fired else zero
            potential[i] = (distance if soft else nothing) if fired else u


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _forward(
    x: NDArray[Any],
    before: NDArray[Any],
    after: NDArray[Any],
    spikes: NDArray[Any],
    bits: NDArray[Any],
    one: Any,
    decay: Any,
    v_threshold: Any,
    half_width: Any,
    soft: bool,
    begin: int,
    end: int,
) -> None:
    """Rows of x are steps (one row: the same at every step); before, after and bits have no rows if there are none.

    Between reading and writing potentials, those of a block lie in the cache.
    """
    nothing = decay - decay
    block, none = np.empty(BLOCK, before.dtype), np.empty(0, bits.dtype)
    for start in range(begin, end, BLOCK):
        stop = min(start + BLOCK, end)
        potential = block[: stop - start]
        if len(before):
            potential[:] = before[0, start:stop]
        else:
            potential[:] = nothing
        for t in range(len(spikes)):
            current, out = x[min(t, x.shape[0] - 1), start:stop], spikes[t, start:stop]
            mark = bits[t // STEPS_PER_BYTE, start:stop] if len(bits) else none
            lif_step(current, potential, out, mark, t % STEPS_PER_BYTE, one, decay, v_threshold, half_width, soft)
        if len(after):
            after[0, start:stop] = potential


@numba.njit(inline="always")
def gradient(grad: Any, both: Any, later: Any, counts: Any, ends: Any, decay: Any, slope: Any) -> Any:
    """The gradient of a current, of those of its spike and of the next current, by two masks of its bits.

    All in bytes, and nothing left out: what is shifted, or computed on condition, is not vectorised.
    """
    zero, nothing = np.uint8(0), decay - decay
    counted, ended = np.uint8(both & counts) != zero, np.uint8(both & ends) != zero
    own, kept = load(grad) * slope, decay * later
    return (own if counted else nothing) + (nothing if ended else kept)


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def back_step(
    grad: NDArray[Any],
    mark: NDArray[Any],
    later: NDArray[Any],
    shift: int,
    decay: Any,
    slope: Any,
    inside: Any,
    stops: Any,
) -> None:
    """One step back for a block of neurons: the gradient of its currents in the place of those of the next step.

    A step's bits begin at `shift`; see `layout.Chain`.
    """
    counts, ends = np.uint8(inside << shift), np.uint8(stops << shift)
    for i in range(len(later)):
        later[i] = gradient(grad[i], mark[i], later[i], counts, ends, decay, slope)


@numba.njit(cache=True, nogil=True)
def _backward(
    grad: NDArray[Any],
    bits: NDArray[Any],
    out: NDArray[Any],
    decay: Any,
    slope: Any,
    soft: bool,
    begin: int,
    end: int,
) -> None:
    gradients = np.full(BLOCK, decay - decay)
    stops = np.uint8(0) if soft else FIRED  # a detached reset to 0 stops the gradient, one by subtraction does not
    for start in range(begin, end, BLOCK):
        stop = min(start + BLOCK, end)
        later = gradients[: stop - start]
        later[:] = 0
        for t in range(len(grad) - 1, -1, -1):
            mark, result = bits[t // STEPS_PER_BYTE, start:stop], out[t, start:stop]
            back_step(grad[t, start:stop], mark, later, t % STEPS_PER_BYTE, decay, slope, INSIDE, stops)
            for i in range(len(later)):
                result[i] = to_memory(later[i], result)


@numba.njit(cache=True, nogil=True)
def _unpack(bits: NDArray[Any], spikes: NDArray[Any], one: Any, begin: int, end: int) -> None:
    zero = one - one
    for start in range(begin, end, BLOCK):
        stop = min(start + BLOCK, end)
        for t in range(len(spikes)):
            mark, shift = bits[t // STEPS_PER_BYTE, start:stop], np.uint8(t % STEPS_PER_BYTE)
            out = spikes[t, start:stop]
            for i in range(len(out)):
                out[i] = one if (mark[i] >> shift) & FIRED else zero


@numba.njit(cache=True, nogil=True)
def _forward_by_all(count: int, threads: int, *arguments: Any) -> None:
    in_team(_forward, count, threads, arguments)  # type: ignore[call-arg]


@numba.njit(cache=True, nogil=True)
def _backward_by_all(count: int, threads: int, *arguments: Any) -> None:
    in_team(_backward, count, threads, arguments)  # type: ignore[call-arg]


@numba.njit(cache=True, nogil=True)
def _unpack_by_all(count: int, threads: int, *arguments: Any) -> None:
    in_team(_unpack, count, threads, arguments)  # type: ignore[call-arg]


def spike_of(dtype: torch.dtype) -> Any:
    """A spike as it is stored; of half precision its bits."""
    return np.int16(ONE_BITS[dtype]) if dtype in ONE_BITS else torch.ones((), dtype=dtype).numpy()[()]


def potential_rows(x: Tensor, *rows: Tensor | None) -> list[NDArray[Any]]:
    """The memory of potentials of the neurons of x, each `[1, neurons]`; no row of those that there are not."""
    none = like_rows(x, 0, potential_dtype(x.dtype))
    return [memory(none if one is None else one) for one in rows]


def memory(x: Tensor) -> NDArray[Any]:
    """The memory of x as an array `[rows, neurons]`; half precision as its bits."""
    (rows, neurons), plain = extent(x), x.detach()
    if x.dtype in ONE_BITS:
        plain = plain.view(torch.int16)
    if x.is_contiguous():  # as below, but faster
        return plain.numpy().reshape(rows, neurons)
    return plain.as_strided((rows, neurons), (neurons, 1)).numpy()
