"""The neurons with a decay per channel for a CPU, compiled by numba, and their gradient towards the decays.

They compute what the reference computes. For the backward pass they keep the fields of bits of `kernels.integer`, where
a binary spike is a whole number up to 1, and, unlike the neurons whose decay is a number, what was left of the
potential after each step but the last.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emsyolo.neuron.kernels.compiled import BLOCK, SHARE, load, memory
from emsyolo.neuron.kernels.integer import ROUNDING, stored
from emsyolo.neuron.kernels.layout import in_order_of, integer_fields, like_rows, potential_dtype, rows_for, rows_of
from emsyolo.neuron.kernels.team import in_team, shared

Found = tuple[Tensor, Tensor, Tensor, Tensor]  # spikes, bits, last potential, potentials left after each step


def binary_forward(
    x: Tensor,
    v: Tensor | None,
    decays: Tensor,
    *,
    v_threshold: float,
    surrogate_width: float,
    soft_reset: bool,
    keep: bool,
    spike_dtype: torch.dtype | None,
) -> Found:
    """As `trained_operator.plif`."""
    number = _number(x.dtype)
    constants = (number(v_threshold), number(surrogate_width / 2), soft_reset)
    return _run(_binary, _binary_by_all, x, v, decays, 1, constants, keep=keep, spike_dtype=spike_dtype)


def integer_forward(
    x: Tensor,
    v: Tensor | None,
    decays: Tensor,
    *,
    input_scale: float,
    levels: int,
    keep: bool,
    spike_dtype: torch.dtype | None,
) -> Found:
    """As `trained_operator.pilif`."""
    number = _number(x.dtype)
    constants = (number(input_scale), number(levels), ROUNDING[number])
    return _run(_integer, _integer_by_all, x, v, decays, levels, constants, keep=keep, spike_dtype=spike_dtype)


def backward(
    grad: Tensor,
    bits: Tensor,
    left: Tensor,
    v: Tensor | None,
    decays: Tensor,
    *,
    slope: float,
    input_scale: float,
    stops: bool,
    levels: int,
) -> tuple[Tensor, Tensor]:
    """The gradients of the currents and of the decays `[C]` from that of the spikes, as `trained_operator.backward`."""
    source = in_order_of(grad.float() if grad.dtype == torch.float16 else grad, bits)
    out = like_rows(bits, len(grad), source.dtype)
    to_decay = like_rows(bits, 1, potential_dtype(grad.dtype))
    number = _number(grad.dtype)
    first = like_rows(bits, 1, to_decay.dtype)
    if v is not None:
        first.copy_(v)
    shared(
        bits[0].numel(),
        SHARE,
        _backward,
        _backward_by_all,
        memory(source),
        memory(bits),
        memory(left),
        memory(first)[0],
        memory(out),
        memory(to_decay)[0],
        decays.detach().numpy(),
        max(1, bits.stride(2)),
        number(slope),
        number(input_scale),
        stops,
        *integer_fields(levels),
        v is not None,
    )
    others = [axis for axis in range(to_decay.ndim) if axis != 2]
    return out.to(grad.dtype), to_decay.sum(dim=others)


def _number(dtype: torch.dtype) -> Any:
    """The type of potentials and constants."""
    return np.float64 if potential_dtype(dtype) == torch.float64 else np.float32


def _run(
    work: Any,
    by_all: Any,
    x: Tensor,
    v: Tensor | None,
    decays: Tensor,
    levels: int,
    constants: tuple[Any, ...],
    *,
    keep: bool,
    spike_dtype: torch.dtype | None,
) -> Found:
    x = rows_of(x)
    dtype, real = spike_dtype or x.dtype, potential_dtype(x.dtype)
    rows = x[:1] if x.stride(0) == 0 else x
    spikes = like_rows(x, len(x), torch.float32 if dtype == torch.float16 else dtype)
    bits = like_rows(x, rows_for(len(x), levels) if keep else 0, torch.uint8)
    left = like_rows(x, len(x) - 1 if keep else 0, real)
    last = like_rows(x, 1, real)
    if v is not None:
        last.copy_(v)
    shared(
        x[0].numel(),
        SHARE,
        work,
        by_all,
        memory(rows if x.dtype != torch.float16 else rows.float()),
        memory(last)[0],
        memory(spikes),
        memory(bits),
        memory(left),
        decays.detach().numpy(),
        max(1, x.stride(2)),
        *constants,
        *integer_fields(levels),
        v is not None,
    )
    return spikes.to(dtype), bits, last[0], left


@numba.njit(cache=True, nogil=True)
def fill(row: NDArray[Any], values: NDArray[Any], stride: int, start: int) -> None:
    """A number of each channel for neurons side by side from `start` on; those of a channel lie `stride` together."""
    channels = len(values)
    channel, place = (start // stride) % channels, start % stride
    i = 0
    while i < len(row):
        if stride == 1:
            run = min(channels - channel, len(row) - i)
            row[i : i + run] = values[channel : channel + run]
            channel = (channel + run) % channels
        else:
            run = min(stride - place, len(row) - i)
            row[i : i + run] = values[channel]
            place += run
            if place == stride:
                place, channel = 0, (channel + 1) % channels
        i += run


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _binary(
    x: NDArray[Any],
    v: NDArray[Any],
    spikes: NDArray[Any],
    bits: NDArray[Any],
    left: NDArray[Any],
    decays: NDArray[Any],
    stride: int,
    v_threshold: Any,
    half_width: Any,
    soft: bool,
    width: int,
    per_byte: int,
    starts: bool,
    begin: int,
    end: int,
) -> None:
    """Rows of x are steps (one row: the same at every step); bits and left have no rows if not wanted."""
    nothing = v_threshold - v_threshold
    one = nothing + 1
    potentials, kept = np.empty(BLOCK, v.dtype), np.empty(BLOCK, v.dtype)
    for start in range(begin, end, BLOCK):
        stop = min(start + BLOCK, end)
        potential, decay = potentials[: stop - start], kept[: stop - start]
        fill(decay, decays, stride, start)
        if starts:
            potential[:] = v[start:stop]
        else:
            potential[:] = nothing
        for t in range(len(spikes)):
            current, out = x[min(t, x.shape[0] - 1), start:stop], spikes[t, start:stop]
            if len(bits):
                mark, shift = bits[t // per_byte, start:stop], np.uint8(t % per_byte * width)
                if shift == 0:
                    mark[:] = 0
                for i in range(len(potential)):
                    u = load(current[i]) + decay[i] * potential[i]
                    distance = u - v_threshold
                    fired = distance >= 0
                    field = np.uint8(fired) << np.uint8(1) | np.uint8(abs(distance) < half_width)
                    mark[i] |= np.uint8(field << shift)
                    out[i] = stored(one if fired else nothing, out)
                    potential[i] = (distance if soft else nothing) if fired else u
                if t < len(left):
                    left[t, start:stop] = potential
            else:
                for i in range(len(potential)):
                    u = load(current[i]) + decay[i] * potential[i]
                    distance = u - v_threshold
                    fired = distance >= 0
                    out[i] = stored(one if fired else nothing, out)
                    potential[i] = (distance if soft else nothing) if fired else u
        v[start:stop] = potential


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _integer(
    x: NDArray[Any],
    v: NDArray[Any],
    spikes: NDArray[Any],
    bits: NDArray[Any],
    left: NDArray[Any],
    decays: NDArray[Any],
    stride: int,
    input_scale: Any,
    levels: Any,
    rounding: Any,
    width: int,
    per_byte: int,
    starts: bool,
    begin: int,
    end: int,
) -> None:
    """As `_binary`."""
    nothing = levels - levels
    residues, kept = np.empty(BLOCK, v.dtype), np.empty(BLOCK, v.dtype)
    for start in range(begin, end, BLOCK):
        stop = min(start + BLOCK, end)
        residue, decay = residues[: stop - start], kept[: stop - start]
        fill(decay, decays, stride, start)
        if starts:
            residue[:] = v[start:stop]
        else:
            residue[:] = nothing
        for t in range(len(spikes)):
            current, out = x[min(t, x.shape[0] - 1), start:stop], spikes[t, start:stop]
            if len(bits):
                mark, shift = bits[t // per_byte, start:stop], np.uint8(t % per_byte * width)
                if shift == 0:
                    mark[:] = 0
                for i in range(len(residue)):
                    u = load(current[i]) * input_scale + decay[i] * residue[i]
                    clipped = min(max(u, nothing), levels)
                    sent = (clipped + rounding) - rounding
                    field = np.uint8(sent) << np.uint8(1) | np.uint8(clipped == u)
                    mark[i] |= np.uint8(field << shift)
                    out[i] = stored(sent, out)
                    residue[i] = u - sent
                if t < len(left):
                    left[t, start:stop] = residue
            else:
                for i in range(len(residue)):
                    u = load(current[i]) * input_scale + decay[i] * residue[i]
                    sent = (min(max(u, nothing), levels) + rounding) - rounding
                    out[i] = stored(sent, out)
                    residue[i] = u - sent
        v[start:stop] = residue


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _backward(
    grad: NDArray[Any],
    bits: NDArray[Any],
    left: NDArray[Any],
    first: NDArray[Any],
    out: NDArray[Any],
    to_decay: NDArray[Any],
    decays: NDArray[Any],
    stride: int,
    slope: Any,
    input_scale: Any,
    stops: bool,
    width: int,
    per_byte: int,
    starts: bool,
    begin: int,
    end: int,
) -> None:
    """`to_decay` gets each neuron's own part of the gradient of its channel's decay."""
    nothing = slope - slope
    afters, parts, kept = np.empty(BLOCK, first.dtype), np.empty(BLOCK, first.dtype), np.empty(BLOCK, first.dtype)
    spike = np.uint8((1 << width) - 2) if stops else np.uint8(0)  # a detached reset to 0 stops the gradient
    for start in range(begin, end, BLOCK):
        stop = min(start + BLOCK, end)
        after, part, decay = afters[: stop - start], parts[: stop - start], kept[: stop - start]
        fill(decay, decays, stride, start)
        after[:] = nothing
        part[:] = nothing
        for t in range(len(grad) - 1, -1, -1):
            mark, shift = bits[t // per_byte, start:stop], np.uint8(t % per_byte * width)
            into, result = grad[t, start:stop], out[t, start:stop]
            for i in range(len(after)):
                field = mark[i] >> shift
                own = load(into[i]) * slope if field & np.uint8(1) else nothing
                after[i] = own + (nothing if field & spike else decay[i] * after[i])
                result[i] = stored(input_scale * after[i], result)
            if t > 0:
                before = left[t - 1, start:stop]
                for i in range(len(after)):
                    part[i] += after[i] * before[i]
            elif starts:
                before = first[start:stop]
                for i in range(len(after)):
                    part[i] += after[i] * before[i]
        to_decay[start:stop] = part


@numba.njit(cache=True, nogil=True)
def _binary_by_all(count: int, threads: int, *arguments: Any) -> None:
    in_team(_binary, count, threads, arguments)  # type: ignore[call-arg]


@numba.njit(cache=True, nogil=True)
def _integer_by_all(count: int, threads: int, *arguments: Any) -> None:
    in_team(_integer, count, threads, arguments)  # type: ignore[call-arg]


@numba.njit(cache=True, nogil=True)
def _backward_by_all(count: int, threads: int, *arguments: Any) -> None:
    in_team(_backward, count, threads, arguments)  # type: ignore[call-arg]
