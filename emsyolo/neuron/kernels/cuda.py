"""The neurons for a GPU: `lif.cu`, compiled at run time by CuPy."""

from __future__ import annotations

import math
from contextlib import nullcontext
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emsyolo.neuron.kernels.layout import (
    bytes_for,
    check_dtype,
    dense_rows,
    in_order_of,
    integer_fields,
    left_over,
    like_rows,
    potentials,
    rows_for,
    rows_of,
    together,
)

HALF = {torch.bfloat16: 1, torch.float16: 2}
THREADS = 256
VECTOR_BYTES = 16
MAX_BLOCKS = 2**31 - 1


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
    spikes = like_rows(x, len(x), x.dtype)
    bits = like_rows(x, bytes_for(len(x)), torch.uint8) if keep else None
    before, after = potentials(x, v, last=last)
    neurons = math.prod(x.shape[1:])
    row = 0 if x.stride(0) == 0 else neurons
    real = _real(x.dtype)
    _launch(
        "lif_forward", x.dtype, neurons,
        x, np.int64(row), before, after, spikes, bits, np.int64(neurons), np.int32(len(x)),
        real(decay), real(v_threshold), real(surrogate_width / 2), np.int32(soft_reset),
    )  # fmt: skip
    return spikes, like_rows(x, 0, torch.uint8) if bits is None else bits, left_over(x, after)


def integrate(
    x: Tensor, v: Tensor, net: Tensor, *, negative: float, repay: float, needs_spike: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """As `reference.if_steps`."""
    x = rows_of(x)
    spikes = like_rows(x, len(x), x.dtype)
    last, total = like_rows(x, 1, x.dtype).copy_(v), like_rows(x, 1, x.dtype).copy_(net)
    neurons, real = math.prod(x.shape[1:]), _real(x.dtype)
    _launch(
        "if_forward", x.dtype, neurons,
        x, np.int64(0 if x.stride(0) == 0 else neurons), last, total, spikes, np.int64(neurons), np.int32(len(x)),
        real(negative), real(repay), np.int32(needs_spike),
    )  # fmt: skip
    return spikes, last[0], total[0]


def backward(grad: Tensor, bits: Tensor, *, decay: float, surrogate_width: float, soft_reset: bool) -> Tensor:
    """As `compiled.backward`."""
    grad = in_order_of(grad, bits)
    out = like_rows(bits, len(grad), grad.dtype)
    neurons, real = math.prod(bits.shape[1:]), _real(grad.dtype)
    _launch(
        "lif_backward", grad.dtype, neurons,
        grad, bits, out, np.int64(neurons), np.int32(len(grad)), real(decay), real(1 / surrogate_width),
        np.int32(soft_reset),
    )  # fmt: skip
    return out


def unpack(bits: Tensor, steps: int, dtype: torch.dtype) -> Tensor:
    """As `compiled.unpack`."""
    spikes = like_rows(bits, steps, dtype)
    neurons = math.prod(bits.shape[1:])
    _launch("lif_unpack", dtype, neurons, bits, spikes, np.int64(neurons), np.int32(steps))
    return spikes


def integer_forward(
    x: Tensor, v: Tensor | None, *, decay: float, input_scale: float, levels: int, keep: bool, last: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """As `integer.forward`."""
    x = rows_of(x)
    spikes = like_rows(x, len(x), x.dtype)
    bits = like_rows(x, rows_for(len(x), levels), torch.uint8) if keep else None
    before, after = potentials(x, v, last=last)
    neurons, real = math.prod(x.shape[1:]), _real(x.dtype)
    width, per_byte = integer_fields(levels)
    _launch(
        "ilif_forward", x.dtype, neurons,
        x, np.int64(0 if x.stride(0) == 0 else neurons), before, after, spikes, bits, np.int64(neurons),
        np.int32(len(x)), real(decay), real(input_scale), real(levels), np.int32(width), np.int32(per_byte),
    )  # fmt: skip
    return spikes, like_rows(x, 0, torch.uint8) if bits is None else bits, left_over(x, after)


def integer_backward(grad: Tensor, bits: Tensor, *, decay: float, input_scale: float, levels: int) -> Tensor:
    """As `integer.backward`."""
    grad = in_order_of(grad, bits)
    out = like_rows(bits, len(grad), grad.dtype)
    neurons, real = math.prod(bits.shape[1:]), _real(grad.dtype)
    width, per_byte = integer_fields(levels)
    _launch(
        "ilif_backward", grad.dtype, neurons,
        grad, bits, out, np.int64(neurons), np.int32(len(grad)), real(decay), real(input_scale), np.int32(width),
        np.int32(per_byte),
    )  # fmt: skip
    return out


def integer_unpack(bits: Tensor, steps: int, levels: int, dtype: torch.dtype) -> Tensor:
    """As `integer.unpack`."""
    spikes = like_rows(bits, steps, dtype)
    neurons = math.prod(bits.shape[1:])
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
    v: Tensor | None,
    *,
    decay: float,
    v_threshold: float,
    surrogate_width: float,
    soft_reset: bool,
    keep: bool,
    last: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """As `normalised.lif_forward`."""
    real = _real(x.dtype)
    constants = (real(decay), real(v_threshold), real(surrogate_width / 2), np.int32(soft_reset))
    rows = bytes_for(len(x)) if keep else 0
    return _norm("norm_lif_forward", x, scale, shift, v, constants, rows, last=last)


def norm_integer_forward(
    x: Tensor,
    scale: Tensor,
    shift: Tensor,
    v: Tensor | None,
    *,
    decay: float,
    input_scale: float,
    levels: int,
    keep: bool,
    last: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """As `normalised.integer_forward`."""
    real = _real(x.dtype)
    fields = [np.int32(one) for one in integer_fields(levels)]
    constants = (real(decay), real(input_scale), real(levels), *fields)
    rows = rows_for(len(x), levels) if keep else 0
    return _norm("norm_ilif_forward", x, scale, shift, v, constants, rows, last=last)


def _norm(
    name: str,
    x: Tensor,
    scale: Tensor,
    shift: Tensor,
    v: Tensor | None,
    constants: tuple[Any, ...],
    rows: int,
    *,
    last: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    x = dense_rows(x)
    spikes, bits = like_rows(x, len(x), x.dtype), like_rows(x, rows, torch.uint8)
    before, after = potentials(x, v, last=last)
    neurons = math.prod(x.shape[1:])
    _launch(
        name, x.dtype, neurons,
        x, scale, shift, np.int32(len(scale)), np.int64(together(x)), before, after, spikes, bits if rows else None,
        np.int64(neurons), np.int32(len(x)), *constants,
    )  # fmt: skip
    return spikes, bits, left_over(x, after)


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
    import cupy

    packed, addresses = [], 0
    for argument in arguments:
        if isinstance(argument, Tensor):
            device, address = argument.device, argument.data_ptr()
            addresses |= address
            packed.append(address)
        else:
            packed.append(0 if argument is None else argument)
    per_thread = VECTOR_BYTES // dtype.itemsize
    wide = neurons % per_thread == 0 and addresses % VECTOR_BYTES == 0
    blocks = -(-neurons // (THREADS * (per_thread if wide else 1)))
    here = device.index == torch.cuda.current_device()  # to set it anew costs the host more than to ask
    with nullcontext() if here else cupy.cuda.Device(device.index):
        stream = _stream(torch.cuda.current_stream(device).cuda_stream, device.index)
        kernel = _kernel(name, dtype, device.index)
        kernel((min(blocks, MAX_BLOCKS),), (THREADS,), (*packed, np.int32(wide)), stream=stream)
