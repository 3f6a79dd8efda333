"""The neurons for a GPU: `lif.cu`, compiled at run time by CuPy."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import torch
from torch import Tensor

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

HALF = {torch.bfloat16: 1, torch.float16: 2}
THREADS = 256
VECTOR_BYTES = 16
MAX_BLOCKS = 2**31 - 1
SUM_BLOCKS = 2048  # that sum per channel: enough for any GPU, and on all of them the same sums
SUM_ITEMS = 4  # that a thread of theirs adds up at least, if there are as many


def source() -> str:
    """The text of the kernels."""
    return resources.files(__package__).joinpath("lif.cu").read_text(encoding="utf-8")


def options(dtype: torch.dtype) -> tuple[str, ...]:
    """What the compiler is told for maps of a dtype.

    No fused multiply-add, which would round differently from the reference and move spikes that are close to a tie.

    Raises:
        ValueError: a dtype that no kernel is written for.
    """
    check_dtype(dtype)
    real = "double" if dtype == torch.float64 else "float"
    return (f"-DREAL={real}", f"-DHALF={HALF.get(dtype, 0)}", "--std=c++17", "--fmad=false")


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
    real = _real(x.dtype)
    _launch(
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
    real = _real(x.dtype)
    _launch(
        "if_forward", x.dtype, neurons,
        x, np.int64(0 if x.stride(0) == 0 else neurons), last, total, spikes, np.int64(neurons), np.int32(steps),
        real(negative), real(repay), np.int32(needs_spike),
    )  # fmt: skip
    return spikes, last[0], total[0]


def backward(grad: Tensor, bits: Tensor, *, decay: float, surrogate_width: float, soft_reset: bool) -> Tensor:
    """As `compiled.backward`."""
    grad = in_order_of(grad, bits)
    steps, neurons = extent(grad)
    out, real = like_rows(bits, steps, grad.dtype), _real(grad.dtype)
    _launch(
        "lif_backward", grad.dtype, neurons,
        grad, bits, out, np.int64(neurons), np.int32(steps), real(decay), real(1 / surrogate_width),
        np.int32(soft_reset),
    )  # fmt: skip
    return out


def unpack(bits: Tensor, steps: int, dtype: torch.dtype) -> Tensor:
    """As `compiled.unpack`."""
    spikes = like_rows(bits, steps, dtype)
    neurons = extent(bits)[1]
    _launch("lif_unpack", dtype, neurons, bits, spikes, np.int64(neurons), np.int32(steps))
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
    real = _real(x.dtype)
    width, per_byte = integer_fields(levels)
    _launch(
        "ilif_forward", x.dtype, neurons,
        x, np.int64(0 if x.stride(0) == 0 else neurons), before, after, spikes, bits, np.int64(neurons),
        np.int32(steps), real(decay), real(input_scale), real(levels), np.int32(width), np.int32(per_byte),
    )  # fmt: skip
    return spikes, like_rows(x, 0, torch.uint8) if bits is None else bits, left_over(x, after)


def integer_backward(grad: Tensor, bits: Tensor, *, decay: float, input_scale: float, levels: int) -> Tensor:
    """As `integer.backward`."""
    grad = in_order_of(grad, bits)
    steps, neurons = extent(grad)
    out, real = like_rows(bits, steps, grad.dtype), _real(grad.dtype)
    width, per_byte = integer_fields(levels)
    _launch(
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
    _launch(
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
    real = _real(x.dtype)
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
    real = _real(x.dtype)
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
    _launch(
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
    dtype, real, kept = x.dtype, _real(x.dtype), potential_dtype(x.dtype)
    channels, stride = mean.shape[0], together(bits)
    own_mean, own_var, own_weight = (one.to(kept).contiguous() for one in (mean, var, weight))
    rule = (real(chain.decay), real(chain.slope), *(np.int32(one) for one in chain[2:]))
    where, sizes = (np.int32(channels), np.int64(stride)), (np.int64(neurons), np.int32(steps))
    parts, sums = 0, own_mean  # none, of which nothing is read
    if (batch or to_norm or joins) and neurons:
        maps = (grad, bits, x, other, joined if joins else None)
        wide = _aligned(dtype, channels if stride == 1 else stride, *maps)
        parts, columns, blocks = _sum_grid(neurons, channels, stride, VECTOR_BYTES // dtype.itemsize if wide else 1)
        sums = own_mean.new_empty(parts, 2, channels)
        _run(
            "norm_sum", dtype, blocks, wide,
            *maps, own_mean, *where, sums, *sizes, *rule, np.int32(columns),
        )  # fmt: skip
    found = own_mean.new_empty(6, channels)  # factors of four kinds, gradients of weight and bias
    _run(
        "norm_finish", dtype, max(1, -(-channels // THREADS)), False,
        sums, np.int32(parts), own_mean, own_var, own_weight, np.int32(channels), real(eps),
        real(x.numel() / max(1, channels)), np.int32(batch), found[4], found[5], found,
    )  # fmt: skip
    out = like_rows(bits, steps if to_x else 0, dtype)
    if to_x:
        through = (joined, None) if joins else (grad, bits)
        # Without bits all of them are ones, and each step's gradient is its own.
        own = (real(0), real(1), np.int32(1), np.int32(1), np.int32(0), np.int32(steps)) if joins else rule
        _launch(
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


@cache
def _kernel(name: str, dtype: torch.dtype, device: int) -> Any:
    import cupy

    with cupy.cuda.Device(device):
        return cupy.RawModule(code=source(), options=options(dtype)).get_function(name)


def _real(dtype: torch.dtype) -> Any:
    """The type of potentials and constants."""
    return np.float64 if dtype == torch.float64 else np.float32


class _TorchStream:
    """A stream of torch for CuPy, by CUDA's stream protocol; torch's own streams know it only in newer versions."""

    def __init__(self, handle: int) -> None:
        self.handle = handle

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.handle


@cache
def _stream(handle: int, device_index: int) -> Any:
    """A stream of torch's, which it keeps for ever, as CuPy's.

    ExternalStream is deprecated from CuPy 14 on, which has from_external.
    """
    import cupy

    from_external = getattr(cupy.cuda.Stream, "from_external", None)
    return cupy.cuda.ExternalStream(handle) if from_external is None else from_external(_TorchStream(handle))


def _launch(name: str, dtype: torch.dtype, neurons: int, *arguments: Any) -> None:
    """Run a kernel over all neurons on torch's current stream; its last argument, `wide`, is found here.

    Args:
        name: of the kernel.
        dtype: of the maps.
        neurons: elements of a row of them.
        arguments: tensors, None for a null pointer, and numbers of numpy's types.
    """
    if neurons == 0:
        return
    packed, addresses = _packed(arguments)
    lanes = VECTOR_BYTES // dtype.itemsize
    wide = not (neurons % lanes or addresses % VECTOR_BYTES)
    blocks = -(-neurons // (THREADS * lanes if wide else THREADS))
    _start(name, dtype, arguments[0].device, min(blocks, MAX_BLOCKS), packed, wide)


def _aligned(dtype: torch.dtype, together: int, *maps: Tensor | None) -> bool:
    """Whether so many elements that lie together can be read 16 bytes at a time, from wherever they begin."""
    return not (together % (VECTOR_BYTES // dtype.itemsize) or _packed(maps)[1] % VECTOR_BYTES)


def _run(name: str, dtype: torch.dtype, blocks: int, wide: bool, *arguments: Any) -> None:
    """Run a kernel of so many blocks on torch's current stream; the other arguments are those of `_launch`."""
    _start(name, dtype, arguments[0].device, blocks, _packed(arguments)[0], wide)


def _packed(arguments: Sequence[Any]) -> tuple[list[Any], int]:
    """Arguments as CuPy takes them, and a number whose low bits are those of the maps' addresses, all in one."""
    packed, addresses = [], 0
    for one in arguments:
        if isinstance(one, Tensor):
            address = one.data_ptr()
            addresses |= address
            packed.append(address)
        else:
            packed.append(0 if one is None else one)
    return packed, addresses


def _start(name: str, dtype: torch.dtype, device: torch.device, blocks: int, packed: list[Any], wide: bool) -> None:
    import cupy

    here = device.index == torch.cuda.current_device()  # to set it anew costs the host more than to ask
    with nullcontext() if here else cupy.cuda.Device(device.index):
        stream = _stream(torch.cuda.current_stream(device).cuda_stream, device.index)
        kernel = _kernel(name, dtype, device.index)
        kernel((blocks,), (THREADS,), (*packed, np.int32(wide)), stream=stream)
