"""Max-pooling over windows of 2x2 for a CPU, compiled by numba.

PyTorch's own takes ten times as long on `[N, C, H, W]` in memory and keeps its input and 8 bytes per output for the
backward pass; this keeps one byte per output.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emsyolo.neuron.kernels.compiled import ONE_BITS, load
from emsyolo.neuron.kernels.team import in_team, shared

DTYPES = (torch.float32, torch.float64, torch.bfloat16)


def outputs(x: Tensor, keep: bool) -> tuple[Tensor, Tensor]:
    """Empty maxima and places of the maps x."""
    y = _empty(x, (x.shape[-2] // 2, x.shape[-1] // 2), x.dtype)
    return y, _empty(x, y.shape[-2:] if keep else (1, 1), torch.uint8)


def gradient(grad: Tensor, winners: Tensor, height: int, width: int) -> Tensor:
    """An empty gradient of the input."""
    return _empty(winners, (height, width), grad.dtype)


def forward(x: Tensor, keep: bool) -> tuple[Tensor, Tensor]:
    """Maxima `[N, C, H//2, W//2]` and, with `keep`, which of the window they are (row by row, the first), uint8."""
    x, inner = _dense(x)
    y, winners = outputs(x, keep)
    planes = _planes(x, inner)
    shared(len(planes), 1, _forward, _forward_by_all, planes, _planes(y, inner), _planes(winners, inner))
    return y, winners


def backward(grad: Tensor, winners: Tensor, height: int, width: int) -> Tensor:
    """The gradient of the input `[N, C, height, width]`."""
    winners, inner = _dense(winners)
    source = grad if _same_order(grad, winners) else _empty(winners, grad.shape[-2:], grad.dtype).copy_(grad)
    out = gradient(grad, winners, height, width)
    if height % 2 or width % 2:
        out.zero_()
    planes = _planes(out, inner)
    shared(len(planes), 1, _backward, _backward_by_all, _planes(source, inner), _planes(winners, inner), planes)
    return out


def _is_channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def _dense(x: Tensor) -> tuple[Tensor, bool]:
    """x with dense memory, and whether the channels lie innermost."""
    last = _is_channels_last(x)
    return (x if last else x.contiguous()), last


def _same_order(x: Tensor, like: Tensor) -> bool:
    return _is_channels_last(x) if _is_channels_last(like) else x.is_contiguous()


def _empty(like: Tensor, size_hw: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    order = torch.channels_last if _is_channels_last(like) else torch.contiguous_format
    return torch.empty((*like.shape[:2], *size_hw), dtype=dtype, device=like.device, memory_format=order)


def _planes(x: Tensor, inner: bool) -> NDArray[Any]:
    """The memory of x as an array `[planes, H, W, channels]`, of which channels is 1 unless they lie innermost."""
    bits = x.detach().view(torch.int16) if x.dtype in ONE_BITS else x.detach()
    order = bits.permute(0, 2, 3, 1) if inner else bits.flatten(0, 1).unsqueeze(-1)
    return order.numpy()


@numba.njit(inline="always")
def _largest(a: Any, b: Any, c: Any, d: Any) -> Any:
    """The largest of a window, and which it is."""
    right, below = load(b) > load(a), load(d) > load(c)
    top, bottom = (b if right else a), (d if below else c)
    down = load(bottom) > load(top)
    return (bottom if down else top), np.uint8(down) * np.uint8(2) + np.uint8(below if down else right)


@numba.njit(cache=True, nogil=True)
def _forward(x: NDArray[Any], y: NDArray[Any], winners: NDArray[Any], begin: int, end: int) -> None:
    keep = winners.shape[1:3] == y.shape[1:3]
    columns, channels = y.shape[2:]
    for plane in range(begin, end):
        for row in range(y.shape[1]):
            upper, lower, out = x[plane, 2 * row], x[plane, 2 * row + 1], y[plane, row]
            places = winners[plane, min(row, winners.shape[1] - 1)]
            if channels == 1:  # the loop that the compiler vectorises is the innermost
                for i in range(columns):
                    value, place = _largest(upper[2 * i, 0], upper[2 * i + 1, 0], lower[2 * i, 0], lower[2 * i + 1, 0])
                    out[i, 0] = value
                    if keep:
                        places[i, 0] = place
            else:
                for i in range(columns):
                    for c in range(channels):
                        value, place = _largest(
                            upper[2 * i, c], upper[2 * i + 1, c], lower[2 * i, c], lower[2 * i + 1, c]
                        )
                        out[i, c] = value
                        if keep:
                            places[i, c] = place


@numba.njit(cache=True, nogil=True)
def _backward(grad: NDArray[Any], winners: NDArray[Any], out: NDArray[Any], begin: int, end: int) -> None:
    columns, channels = grad.shape[2:]
    zero = grad.dtype.type(0)
    for plane in range(begin, end):
        for row in range(grad.shape[1]):
            upper, lower = out[plane, 2 * row], out[plane, 2 * row + 1]
            source, places = grad[plane, row], winners[plane, row]
            for i in range(columns):
                for c in range(channels):
                    g, winner = source[i, c], places[i, c]
                    upper[2 * i, c] = g if winner == 0 else zero
                    upper[2 * i + 1, c] = g if winner == 1 else zero
                    lower[2 * i, c] = g if winner == 2 else zero
                    lower[2 * i + 1, c] = g if winner == 3 else zero


@numba.njit(cache=True, nogil=True)
def _forward_by_all(count: int, threads: int, *arguments: Any) -> None:
    in_team(_forward, count, threads, arguments)  # type: ignore[call-arg]


@numba.njit(cache=True, nogil=True)
def _backward_by_all(count: int, threads: int, *arguments: Any) -> None:
    in_team(_backward, count, threads, arguments)  # type: ignore[call-arg]
