"""The way back through a neuron and the normalisation before it at once, for a CPU, compiled by numba.

The gradient of the currents is not written to memory: it is cheaper to find it twice from the bits, once for what the
normalisation sums per channel, once for the gradient of its maps. Only where currents are the sum with a shortcut, or
somebody else reads them, it is, as the gradient of all that. Sums are those of parts of a fixed size, added in their
order, so that they do not depend on the number of threads.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emsyolo.neuron.kernels.compiled import SHARE, back_step, gradient, load, memory, to_memory
from emsyolo.neuron.kernels.layout import Chain, in_order_of, like_rows, potential_dtype, together
from emsyolo.neuron.kernels.normalised import block_of
from emsyolo.neuron.kernels.team import in_team, shared
from emsyolo.neuron.kernels.trained import fill

BLOCKS = 4  # of a part: small maps have enough of them for all threads


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
    """As `norm_operator.norm_backward`."""
    grad, x = in_order_of(grad, bits), in_order_of(x, bits)
    none = like_rows(bits, 0, x.dtype)
    other = none if more is None else in_order_of(more, bits)
    joined = like_rows(bits, len(grad), x.dtype) if joins else none
    real, stride, neurons = potential_dtype(x.dtype), together(bits), bits[0].numel()
    number = np.float64 if real == torch.float64 else np.float32
    constants = (
        number(chain.decay), number(chain.slope), np.uint8(chain.inside), np.uint8(chain.stops), chain.width,
        chain.per_byte,
    )  # fmt: skip
    maps = (memory(grad), memory(bits), memory(x))
    channels = len(mean)
    parts = -(-neurons // part_of(channels, stride)) if batch or to_norm or joins else 0
    sums = np.empty((parts, 2, channels))
    means = mean.detach().to(real).numpy()
    shared(parts, 1, _sum, _sum_by_all, *maps, memory(other), memory(joined), means, stride, sums, *constants)
    to_weight, to_bias = torch.empty_like(weight, dtype=real), torch.empty_like(weight, dtype=real)
    factors = np.empty((4, channels), number)
    statistics = (means, var.detach().to(real).numpy(), weight.detach().to(real).numpy(), eps)
    count = x.numel() / max(1, channels)
    _finish(sums, *statistics, count, batch, to_weight.numpy(), to_bias.numpy(), factors)
    out = like_rows(bits, len(grad) if to_x else 0, x.dtype)
    if to_x:
        if joins:
            maps = (memory(joined), memory(like_rows(bits, 0, bits.dtype)), memory(x))
        shared(neurons, SHARE, _through, _through_by_all, *maps, factors, stride, batch, memory(out), *constants)
    return out, joined, to_weight.to(weight.dtype), to_bias.to(weight.dtype)


@numba.njit(cache=True, nogil=True)
def part_of(channels: int, stride: int) -> int:
    """How many neurons a part has."""
    return BLOCKS * block_of(channels, stride)


# Sums may be taken in the order that suits the registers, which is the same whenever the length is.
@numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def _add_up(later: NDArray[Any], x: NDArray[Any], mean: Any) -> tuple[Any, Any]:
    """The sum of gradients, and of them times the distance from the mean, of neurons of one channel."""
    total, product = mean - mean, mean - mean
    for k in range(len(later)):
        total += later[k]
        product += later[k] * (load(x[k]) - mean)
    return total, product


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _step_and_add(
    grad: NDArray[Any],
    mark: NDArray[Any],
    later: NDArray[Any],
    shift: int,
    decay: Any,
    slope: Any,
    inside: Any,
    stops: Any,
    total: NDArray[Any],
    product: NDArray[Any],
    x: NDArray[Any],
    means: NDArray[Any],
) -> None:
    """`back_step`, and the same sums for neurons each of which has its own."""
    counts, ends = np.uint8(inside << shift), np.uint8(stops << shift)
    for i in range(len(later)):
        found = gradient(grad[i], mark[i], later[i], counts, ends, decay, slope)
        later[i] = found
        total[i] += found
        product[i] += found * (load(x[i]) - means[i])


@numba.njit(cache=True, nogil=True)
def _join(found: NDArray[Any], later: NDArray[Any], more: NDArray[Any], joined: NDArray[Any]) -> None:
    """The gradient of the currents with that of somebody else who reads them (none: `more` is empty), as it is kept."""
    if len(more):
        for k in range(len(found)):
            both = to_memory(later[k] + load(more[k]), joined)
            joined[k], found[k] = both, load(both)
    else:
        for k in range(len(found)):
            both = to_memory(later[k], joined)
            joined[k], found[k] = both, load(both)


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _add_each(
    found: NDArray[Any], total: NDArray[Any], product: NDArray[Any], x: NDArray[Any], means: NDArray[Any]
) -> None:
    """The sums of `_add_up` for neurons each of which has its own."""
    for i in range(len(found)):
        total[i] += found[i]
        product[i] += found[i] * (load(x[i]) - means[i])


@numba.njit(cache=True, nogil=True)
def _fold(into: NDArray[Any], row: NDArray[Any], start: int) -> None:
    """Add the sums of neurons from `start` on, whose channels lie side by side, to those of channels."""
    channel, i = start % len(into), 0
    while i < len(row):
        run = min(len(into) - channel, len(row) - i)
        here, of = into[channel : channel + run], row[i : i + run]
        for k in range(run):
            here[k] += of[k]
        i, channel = i + run, 0


@numba.njit(cache=True, nogil=True)
def _sum(
    grad: NDArray[Any],
    bits: NDArray[Any],
    x: NDArray[Any],
    more: NDArray[Any],
    joined: NDArray[Any],
    mean: NDArray[Any],
    stride: int,
    sums: NDArray[Any],
    decay: Any,
    slope: Any,
    inside: Any,
    stops: Any,
    width: int,
    per_byte: int,
    begin: int,
    end: int,
) -> None:
    """Per part and channel the sums of `_add_up`; a channel's neurons lie `stride` together."""
    channels, neurons = len(mean), x.shape[1]
    block, part = block_of(channels, stride), part_of(channels, stride)
    gradients, means, both = np.empty(block, mean.dtype), np.empty(block, mean.dtype), np.empty(block, mean.dtype)
    totals, products, none = np.empty(block, mean.dtype), np.empty(block, mean.dtype), np.empty(0, x.dtype)
    for number in range(begin, end):
        sums[number] = 0
        first = number * part
        for start in range(first, min(first + part, neurons), block):
            size = min(block, neurons - start)
            later, total, product = gradients[:size], totals[:size], products[:size]
            later[:] = 0
            total[:] = 0
            product[:] = 0
            if stride == 1 and ((number == begin and start == first) or block % channels):
                fill(means, mean, stride, start)
            for t in range(len(grad) - 1, -1, -1):
                mark, shift = bits[t // per_byte, start : start + size], t % per_byte * width
                of, into, found = x[t, start : start + size], grad[t, start : start + size], later
                if stride == 1 and not len(joined):
                    chain = (decay, slope, inside, stops)
                    _step_and_add(into, mark, later, shift, *chain, total, product, of, means)
                    continue
                back_step(into, mark, later, shift, decay, slope, inside, stops)
                if len(joined):
                    found = both[:size]
                    other = more[t, start : start + size] if len(more) else none
                    _join(found, later, other, joined[t, start : start + size])
                if stride == 1:
                    _add_each(found, total, product, of, means)
                    continue
                channel, place, i = (start // stride) % channels, start % stride, 0
                while i < size:
                    stop = min(i + stride - place, size)
                    own, own_product = _add_up(found[i:stop], of[i:stop], mean[channel])
                    sums[number, 0, channel] += own
                    sums[number, 1, channel] += own_product
                    i, place, channel = stop, 0, (channel + 1) % channels
            if stride == 1:
                _fold(sums[number, 0], total, start)
                _fold(sums[number, 1], product, start)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _finish(
    sums: NDArray[Any],
    mean: NDArray[Any],
    var: NDArray[Any],
    weight: NDArray[Any],
    eps: float,
    count: float,
    batch: bool,
    to_weight: NDArray[Any],
    to_bias: NDArray[Any],
    factors: NDArray[Any],
) -> None:
    """The gradients of weight and bias, and the numbers per channel of `_through`."""
    for c in range(len(mean)):
        total, product = 0.0, 0.0
        for part in range(len(sums)):
            total += sums[part, 0, c]
            product += sums[part, 1, c]
        inverse = 1 / np.sqrt(np.float64(var[c]) + eps)
        to_bias[c], to_weight[c] = total, product * inverse
        factors[0, c] = weight[c] * inverse
        if batch:
            factors[1, c], factors[2, c], factors[3, c] = total / count, mean[c], product * inverse**2 / count


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _apply(
    out: NDArray[Any],
    later: NDArray[Any],
    x: NDArray[Any],
    scale: NDArray[Any],
    mean_gradient: NDArray[Any],
    mean: NDArray[Any],
    slope: NDArray[Any],
) -> None:
    """The gradients of maps whose normalisation takes its statistics from them, each neuron with its own numbers."""
    for k in range(len(out)):
        found = scale[k] * ((later[k] - mean_gradient[k]) - (load(x[k]) - mean[k]) * slope[k])
        out[k] = to_memory(found, out)


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _apply_to_channel(
    out: NDArray[Any], later: NDArray[Any], x: NDArray[Any], scale: Any, mean_gradient: Any, mean: Any, slope: Any
) -> None:
    """The same where all of them have the same."""
    for k in range(len(out)):
        found = scale * ((later[k] - mean_gradient) - (load(x[k]) - mean) * slope)
        out[k] = to_memory(found, out)


@numba.njit(cache=True, nogil=True)
def _scale(out: NDArray[Any], later: NDArray[Any], scale: NDArray[Any]) -> None:
    """The gradients of maps where the statistics are given."""
    for k in range(len(out)):
        out[k] = to_memory(scale[k] * later[k], out)


@numba.njit(cache=True, nogil=True)
def _scale_channel(out: NDArray[Any], later: NDArray[Any], scale: Any) -> None:
    for k in range(len(out)):
        out[k] = to_memory(scale * later[k], out)


@numba.njit(cache=True, nogil=True)
def _loaded(into: NDArray[Any], stored: NDArray[Any]) -> None:
    """What is stored, as numbers."""
    for k in range(len(into)):
        into[k] = load(stored[k])


@numba.njit(cache=True, nogil=True)
def _through(
    grad: NDArray[Any],
    bits: NDArray[Any],
    x: NDArray[Any],
    factors: NDArray[Any],
    stride: int,
    batch: bool,
    out: NDArray[Any],
    decay: Any,
    slope: Any,
    inside: Any,
    stops: Any,
    width: int,
    per_byte: int,
    begin: int,
    end: int,
) -> None:
    """The gradient of what is normalised, from the factors of `_finish`.

    Where bits have no row, `grad` is the gradient of the currents.
    """
    channels = factors.shape[1]
    block, given = block_of(channels, stride), (4 if batch else 1)
    gradients, rows = np.empty(block, factors.dtype), np.empty((4, block), factors.dtype)
    for start in range(begin, end, block):
        size = min(block, end - start)
        later = gradients[:size]
        later[:] = 0
        if stride == 1 and (start == begin or block % channels):
            for row in range(given):
                fill(rows[row], factors[row], stride, start)
        for t in range(len(grad) - 1, -1, -1):
            if len(bits):
                mark, shift = bits[t // per_byte, start : start + size], t % per_byte * width
                back_step(grad[t, start : start + size], mark, later, shift, decay, slope, inside, stops)
            else:
                _loaded(later, grad[t, start : start + size])
            of, into = x[t, start : start + size], out[t, start : start + size]
            if stride == 1 and batch:
                _apply(into, later, of, rows[0], rows[1], rows[2], rows[3])
            elif stride == 1:
                _scale(into, later, rows[0])
            else:
                channel, place, i = (start // stride) % channels, start % stride, 0
                while i < size:
                    stop = min(i + stride - place, size)
                    f = factors[:, channel]
                    if batch:
                        _apply_to_channel(into[i:stop], later[i:stop], of[i:stop], f[0], f[1], f[2], f[3])
                    else:
                        _scale_channel(into[i:stop], later[i:stop], f[0])
                    i, place, channel = stop, 0, (channel + 1) % channels


@numba.njit(cache=True, nogil=True)
def _sum_by_all(count: int, threads: int, *arguments: Any) -> None:
    in_team(_sum, count, threads, arguments)  # type: ignore[call-arg]


@numba.njit(cache=True, nogil=True)
def _through_by_all(count: int, threads: int, *arguments: Any) -> None:
    in_team(_through, count, threads, arguments)  # type: ignore[call-arg]
