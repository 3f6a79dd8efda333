"""How maps lie in memory: what the kernels share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)  # of currents
STEPS_PER_BYTE = 4  # of the bits kept for the backward pass: fired and inside the window, for each step


def check_potential(v: Tensor | float, x: Tensor) -> None:
    """Refuse to go on from the potentials of other maps, which would be broadcast.

    Raises:
        ValueError: potentials of another shape than a step of the currents.
    """
    if isinstance(v, Tensor) and v.shape != x.shape[1:]:
        raise ValueError(
            f"potentials are {list(v.shape)}, the currents of a step {list(x.shape[1:])}; reset the network between "
            "batches (spikingjelly.activation_based.functional.reset_net)"
        )


def check_dtype(dtype: torch.dtype) -> None:
    """Refuse maps that the kernels would read as something else.

    Raises:
        ValueError: another dtype than those of `DTYPES`.
    """
    if dtype not in DTYPES:
        raise ValueError(f"maps are {dtype}; expected one of {', '.join(map(str, DTYPES))}")


def rows_of(x: Tensor) -> Tensor:
    """`[T, *]` such that each step's elements lie side by side, in any order of axes, and T is dense or expanded.

    Raises:
        ValueError: currents of another dtype than those of `DTYPES`.
    """
    check_dtype(x.dtype)
    if x.is_contiguous():  # which the rest would find, too, but not as fast
        return x
    shape, strides = x.shape, x.stride()
    if _dense(shape[1:], strides[1:]) and (shape[0] == 1 or strides[0] in (0, math.prod(shape[1:]))):
        return x
    return x.contiguous()


def _dense(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether the elements of a step lie side by side, in any order of axes."""
    if 0 in shape:
        return True
    expected = 1
    for stride, size in sorted(zip(strides, shape, strict=True)):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True


def dense_rows(x: Tensor) -> Tensor:
    """As `rows_of`, but T is dense."""
    x = rows_of(x)
    return x if x.shape[0] == 1 or x.stride(0) else x.contiguous()


def extent(x: Tensor) -> tuple[int, int]:
    """The number of rows of `[T, *]`, and of elements in each; `len` and `x[0]` cost the host many times as much."""
    shape = x.shape
    return shape[0], math.prod(shape[1:])


def like_rows(x: Tensor, rows: int, dtype: torch.dtype) -> Tensor:
    """An empty tensor of as many rows, each in the order in memory of x's, which are of `rows_of`."""
    shape, strides = x.shape[1:], x.stride()[1:]
    return x.new_empty_strided((rows, *shape), (math.prod(shape), *strides), dtype=dtype)


def in_order_of(x: Tensor, like: Tensor) -> Tensor:
    """x, its rows in the order in memory of those of another map."""
    rows, neurons = extent(x)
    strides = x.stride()
    if strides[1:] == like.stride()[1:] and (rows == 1 or strides[0] == neurons):
        return x
    return like_rows(like, rows, x.dtype).copy_(x)


def potentials(x: Tensor, v: Tensor | None, *, last: bool) -> tuple[Tensor | None, Tensor | None]:
    """What a kernel reads potentials from and writes them to, `[1, N, *]` each, in the order in memory of x's rows.

    Args:
        x: currents, as of `rows_of`.
        v: before the first step `[N, *]`; None is 0.
        last: those after the last step are wanted; else there is nothing to write to.
    """
    real = potential_dtype(x.dtype)
    before = None if v is None else in_order_of(v.detach().to(x.device, real)[None], x)
    return before, like_rows(x, 1, real) if last else None


def left_over(x: Tensor, after: Tensor | None) -> Tensor:
    """The potentials that an operator gives, `[N, *]`; of shape `[0]` where nobody asked for them."""
    return x.new_empty(0, dtype=potential_dtype(x.dtype)) if after is None else after[0]


def together(x: Tensor) -> int:
    """How many elements of a channel lie side by side in a row of x, `[T, N, C, *]`, as of `rows_of`."""
    return max(1, x.stride(2) if x.shape[2] > 1 else extent(x)[1])


def bytes_for(steps: int) -> int:
    """The number of rows of bits that hold a number of steps."""
    return -(-steps // STEPS_PER_BYTE)


def integer_fields(levels: int) -> tuple[int, int]:
    """Of integer-valued neurons' bits: the width of a step's field (in the box, and the spike), steps per byte."""
    width = 1 + levels.bit_length()
    return width, 8 // width


def rows_for(steps: int, levels: int) -> int:
    """The number of rows of bits that hold a number of steps of integer-valued neurons."""
    return -(-steps // integer_fields(levels)[1])


class Chain(NamedTuple):
    """How the gradient of the spikes becomes that of the currents, by a neuron's bits, from the last step to the first:

        g[t] = (slope * grad[t] if inside) + (0 if stopped else decay * g[t + 1])

    Attributes:
        decay, slope: see above.
        inside, stops: which of a step's bits say that its gradient counts, and that the next one's ends there.
        width, per_byte: how many bits lie between those of a step and the next, and how many steps a byte has.
    """

    decay: float
    slope: float
    inside: int
    stops: int
    width: int
    per_byte: int


def binary_chain(decay: float, surrogate_width: float, soft_reset: bool) -> Chain:
    """Of binary neurons: a reset to 0 is detached, so that a spike stops the gradient; one by subtraction does not."""
    return Chain(decay, 1 / surrogate_width, 16, 0 if soft_reset else 1, 1, STEPS_PER_BYTE)


def integer_chain(decay: float, input_scale: float, levels: int) -> Chain:
    """Of integer-valued neurons."""
    return Chain(decay, input_scale, 1, 0, *integer_fields(levels))


def potential_dtype(dtype: torch.dtype) -> torch.dtype:
    """Of the potentials: in half precision they would lose currents that are small beside them."""
    return torch.promote_types(dtype, torch.float32)
