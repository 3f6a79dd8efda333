"""The kernels of `lif.cu`: compiled at run time by CuPy, and launched on torch's stream."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emsyolo.neuron.kernels.layout import check_dtype

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


def real_type(dtype: torch.dtype) -> Any:
    """The type of potentials and constants."""
    return np.float64 if dtype == torch.float64 else np.float32


@cache
def _kernel(name: str, dtype: torch.dtype, device: int) -> Any:
    import cupy

    with cupy.cuda.Device(device):
        return cupy.RawModule(code=source(), options=options(dtype)).get_function(name)


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


def launch(name: str, dtype: torch.dtype, neurons: int, *arguments: Any) -> None:
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


def aligned(dtype: torch.dtype, together: int, *maps: Tensor | None) -> bool:
    """Whether so many elements that lie together can be read 16 bytes at a time, from wherever they begin."""
    return not (together % (VECTOR_BYTES // dtype.itemsize) or _packed(maps)[1] % VECTOR_BYTES)


def run(name: str, dtype: torch.dtype, blocks: int, wide: bool, *arguments: Any) -> None:
    """Run a kernel of so many blocks on torch's current stream; the other arguments are those of `launch`."""
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
