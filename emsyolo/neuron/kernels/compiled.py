"""The leaky integrate-and-fire neuron for a CPU: all steps in one pass over the memory, compiled by numba.

It computes what the reference computes. The backward pass keeps one byte per neuron and step: whether it fired, and
whether its potential lay in the surrogate's window.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

# The bits of 1.0 where numpy has no such type or computes in it slowly.
ONE_BITS = {torch.float16: 0x3C00, torch.bfloat16: 0x3F80}
FIRED, INSIDE = np.uint8(1), np.uint8(2)
BLOCK = 2048  # neurons whose potentials stay in the fastest cache while time runs
SHARE = 16 * BLOCK  # neurons that are worth another thread


def lif_steps(
    x: Tensor, v: Tensor, *, decay: float, v_threshold: float, surrogate_width: float
) -> tuple[Tensor, Tensor]:
    """Spikes and last potential with the reset detached: arguments, shapes and results as in `reference.lif_steps`."""
    spikes, v = _LIF.apply(x, v, decay, v_threshold, surrogate_width)
    return spikes, v


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _forward(
    x: NDArray[Any],
    v: NDArray[Any],
    spikes: NDArray[Any],
    marks: NDArray[Any],
    one: Any,
    decay: Any,
    v_threshold: Any,
    half_width: Any,
    begin: int,
    end: int,
) -> None:
    """Rows of x are steps (one row: the same at every step); v is replaced; marks has no rows if not wanted."""
    steps = len(spikes)
    zero, nothing = one - one, decay - decay
    for start in range(begin, end, BLOCK):
        stop = min(start + BLOCK, end)
        potential = v[start:stop]
        for t in range(steps):
            current, out = x[min(t, x.shape[0] - 1), start:stop], spikes[t, start:stop]
            if len(marks):
                mark = marks[t, start:stop]
                for i in range(len(potential)):
                    u = current[i] + decay * potential[i]
                    distance = u - v_threshold
                    fired = distance >= 0
                    mark[i] = np.uint8(fired) * FIRED + np.uint8(abs(distance) < half_width) * INSIDE
                    out[i] = one if fired else zero
                    potential[i] = nothing if fired else u
            else:
                for i in range(len(potential)):
                    u = current[i] + decay * potential[i]
                    fired = u - v_threshold >= 0
                    out[i] = one if fired else zero
                    potential[i] = nothing if fired else u


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _backward(
    grad: NDArray[Any], marks: NDArray[Any], later: NDArray[Any], decay: Any, slope: Any, begin: int, end: int
) -> None:
    """Replaces the gradient of the spikes by that of the currents; `later` starts at 0."""
    steps = len(grad)
    nothing = decay - decay
    for start in range(begin, end, BLOCK):
        stop = min(start + BLOCK, end)
        after = later[start:stop]
        for t in range(steps - 1, -1, -1):
            out, mark = grad[t, start:stop], marks[t, start:stop]
            for i in range(len(after)):
                own = out[i] * slope if mark[i] & INSIDE else nothing
                # du[t+1]/du[t] = decay where step t did not fire; the reset itself is detached.
                after[i] = own + (nothing if mark[i] & FIRED else decay * after[i])
                out[i] = after[i]


class _LIF(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, v: Tensor, decay: float, v_threshold: float, surrogate_width: float
    ) -> tuple[Tensor, Tensor]:
        if not _dense(x[0]) or (len(x) > 1 and x.stride(0) not in (0, x[0].numel())):
            x = x.contiguous()
        neurons = x[0].numel()
        dtype = torch.promote_types(x.dtype, torch.float32)
        real = np.float64 if dtype == torch.float64 else np.float32
        rows = x[:1] if x.stride(0) == 0 else x
        last = torch.empty_like(x[0], dtype=dtype).copy_(v)
        spikes = torch.empty_strided((len(x), *x.shape[1:]), (neurons, *x.stride()[1:]), dtype=x.dtype)
        kept = len(x) if ctx.needs_input_grad[0] else 0
        marks = torch.empty((kept, neurons), dtype=torch.uint8)
        bits = spikes.view(torch.int16) if x.dtype in ONE_BITS else spikes
        _shared(
            neurons,
            _forward,
            _rows(rows.to(dtype), neurons),
            _rows(last[None], neurons)[0],
            _rows(bits, neurons),
            marks.numpy(),
            np.int16(ONE_BITS[x.dtype]) if x.dtype in ONE_BITS else real(1),
            real(decay),
            real(v_threshold),
            real(surrogate_width / 2),
        )
        ctx.save_for_backward(marks)
        ctx.decay, ctx.width, ctx.real, ctx.dtype, ctx.strides = decay, surrogate_width, real, dtype, spikes.stride()
        last = last.to(v.dtype)
        ctx.mark_non_differentiable(last)
        return spikes, last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        (marks,) = ctx.saved_tensors
        out = torch.empty_strided(grad.shape, ctx.strides, dtype=ctx.dtype).copy_(grad)
        neurons = marks.shape[1]
        later = np.zeros(neurons, dtype=ctx.real)
        slope = ctx.real(1 / ctx.width)
        _shared(neurons, _backward, _rows(out, neurons), marks.numpy(), later, ctx.real(ctx.decay), slope)
        return out.to(grad.dtype), None, None, None, None


def _shared(neurons: int, work: Callable[..., None], *arguments: Any) -> None:
    """Do the work on all neurons, in as many threads as torch has.

    Not numba's own threads: those on OpenMP end a process that forks, as a data loader does.
    """
    parts = max(1, min(torch.get_num_threads(), neurons // SHARE))
    if parts == 1:
        work(*arguments, 0, neurons)
        return
    size = -(-neurons // parts)
    rest = [
        _threads(os.getpid()).submit(work, *arguments, begin, min(begin + size, neurons))
        for begin in range(size, neurons, size)
    ]
    work(*arguments, 0, size)
    for part in rest:
        part.result()


@cache
def _threads(process: int) -> ThreadPoolExecutor:
    """The threads of this process; a fork has none of its parent's."""
    return ThreadPoolExecutor(thread_name_prefix="lif")


def _dense(x: Tensor) -> bool:
    """The elements lie side by side, in whatever order of axes."""
    return torch.ops.aten.is_non_overlapping_and_dense(x)


def _rows(x: Tensor, neurons: int) -> NDArray[Any]:
    """The memory of x as an array `[T, neurons]`."""
    return x.detach().as_strided((len(x), neurons), (neurons, 1)).numpy()
