"""The neurons behind a normalisation, whose currents are `x * scale + shift` per channel, for a CPU.

One pass over the memory, compiled by numba; what the normalisation gives stays in the fastest cache, and so does its
sum with a shortcut unless somebody else reads it. It is computed as `reference.normalised` says, without a fused
multiply-add. Not for float16, in which a CPU computes slowly.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emsyolo.neuron.kernels.compiled import BLOCK, SHARE, lif_step, load, memory, potential_rows, spike_of, to_memory
from emsyolo.neuron.kernels.integer import ROUNDING, integer_step
from emsyolo.neuron.kernels.layout import (
    STEPS_PER_BYTE,
    bytes_for,
    dense_rows,
    in_order_of,
    integer_fields,
    left_over,
    like_rows,
    potential_dtype,
    potentials,
    rows_for,
    together,
)
from emsyolo.neuron.kernels.team import in_team, shared
from emsyolo.neuron.kernels.trained import fill


def lif_forward(
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
    """As `norm_operator.norm_lif`."""
    number, one = _number(x.dtype), spike_of(x.dtype)
    constants = (one, number(decay), number(v_threshold), number(surrogate_width / 2), soft_reset)
    rows = bytes_for(len(x)) if keep else 0
    return _run(_lif, _lif_by_all, x, scale, shift, add, v, constants, rows, last=last, total=total)


def integer_forward(
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
    """As `norm_operator.norm_ilif`."""
    number = _number(x.dtype)
    constants = (number(decay), number(input_scale), number(levels), ROUNDING[number], *integer_fields(levels))
    rows = rows_for(len(x), levels) if keep else 0
    return _run(_integer, _integer_by_all, x, scale, shift, add, v, constants, rows, last=last, total=total)


def _number(dtype: torch.dtype) -> Any:
    """The type of potentials and constants."""
    return np.float64 if potential_dtype(dtype) == torch.float64 else np.float32


def _run(
    work: Any,
    by_all: Any,
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
    none = like_rows(x, 0, x.dtype)
    added = none if add is None else in_order_of(add, x)
    sums = like_rows(x, len(x), x.dtype) if total else none
    spikes = like_rows(x, len(x), x.dtype)
    bits = like_rows(x, rows, torch.uint8)
    before, after = potentials(x, v, last=last)
    shared(
        x[0].numel(),
        SHARE,
        work,
        by_all,
        memory(x),
        scale.detach().numpy(),
        shift.detach().numpy(),
        together(x),
        memory(added),
        memory(sums),
        *potential_rows(x, before, after),
        memory(spikes),
        memory(bits),
        *constants,
    )
    return spikes, bits, left_over(x, after), sums


@numba.njit(cache=True, nogil=True)
def _normalise(currents: NDArray[Any], x: NDArray[Any], scale: NDArray[Any], shift: NDArray[Any]) -> None:
    """The currents of neurons side by side, each with its own scale and shift."""
    for k in range(len(x)):
        currents[k] = to_memory(load(x[k]) * scale[k] + shift[k], currents)


@numba.njit(cache=True, nogil=True)
def _normalise_and_add(
    currents: NDArray[Any], x: NDArray[Any], scale: NDArray[Any], shift: NDArray[Any], add: NDArray[Any]
) -> None:
    """The same, and what a shortcut gives."""
    for k in range(len(x)):
        found = load(to_memory(load(x[k]) * scale[k] + shift[k], currents))
        currents[k] = to_memory(found + load(add[k]), currents)


@numba.njit(cache=True, nogil=True)
def block_of(channels: int, stride: int) -> int:
    """How many neurons to take at once; if channels lie side by side, all blocks begin with the same one."""
    return BLOCK // channels * channels if stride == 1 and 0 < channels <= BLOCK else BLOCK


@numba.njit(cache=True, nogil=True)
def _lif(
    x: NDArray[Any],
    scale: NDArray[Any],
    shift: NDArray[Any],
    stride: int,
    add: NDArray[Any],
    total: NDArray[Any],
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
    """Rows are steps; what there is not has none. A channel's neurons lie `stride` together."""
    block = block_of(len(scale), stride)
    scales, shifts, kept = np.empty(block, scale.dtype), np.empty(block, scale.dtype), np.empty(block, scale.dtype)
    row, none = np.empty(block, x.dtype), np.empty(0, bits.dtype)
    for start in range(begin, end, block):
        stop = min(start + block, end)
        potential, currents = kept[: stop - start], row[: stop - start]
        if stride > 1 or start == begin or block % len(scale):
            fill(scales, scale, stride, start)
            fill(shifts, shift, stride, start)
        if len(before):
            potential[:] = before[0, start:stop]
        else:
            potential[:] = 0
        for t in range(len(spikes)):
            if len(total):
                currents = total[t, start:stop]
            if len(add):
                _normalise_and_add(currents, x[t, start:stop], scales, shifts, add[t, start:stop])
            else:
                _normalise(currents, x[t, start:stop], scales, shifts)
            mark = bits[t // STEPS_PER_BYTE, start:stop] if len(bits) else none
            out = spikes[t, start:stop]
            lif_step(currents, potential, out, mark, t % STEPS_PER_BYTE, one, decay, v_threshold, half_width, soft)
        if len(after):
            after[0, start:stop] = potential


@numba.njit(cache=True, nogil=True)
def _integer(
    x: NDArray[Any],
    scale: NDArray[Any],
    shift: NDArray[Any],
    stride: int,
    add: NDArray[Any],
    total: NDArray[Any],
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
    """As `_lif`."""
    block = block_of(len(scale), stride)
    scales, shifts, kept = np.empty(block, scale.dtype), np.empty(block, scale.dtype), np.empty(block, scale.dtype)
    row, none = np.empty(block, x.dtype), np.empty(0, bits.dtype)
    for start in range(begin, end, block):
        stop = min(start + block, end)
        residue, currents = kept[: stop - start], row[: stop - start]
        if stride > 1 or start == begin or block % len(scale):
            fill(scales, scale, stride, start)
            fill(shifts, shift, stride, start)
        if len(before):
            residue[:] = before[0, start:stop]
        else:
            residue[:] = 0
        for t in range(len(spikes)):
            if len(total):
                currents = total[t, start:stop]
            if len(add):
                _normalise_and_add(currents, x[t, start:stop], scales, shifts, add[t, start:stop])
            else:
                _normalise(currents, x[t, start:stop], scales, shifts)
            mark = bits[t // per_byte, start:stop] if len(bits) else none
            place, out = t % per_byte * width, spikes[t, start:stop]
            integer_step(currents, residue, out, mark, place, decay, input_scale, levels, rounding)
        if len(after):
            after[0, start:stop] = residue


@numba.njit(cache=True, nogil=True)
def _lif_by_all(count: int, threads: int, *arguments: Any) -> None:
    in_team(_lif, count, threads, arguments)  # type: ignore[call-arg]


@numba.njit(cache=True, nogil=True)
def _integer_by_all(count: int, threads: int, *arguments: Any) -> None:
    in_team(_integer, count, threads, arguments)  # type: ignore[call-arg]
