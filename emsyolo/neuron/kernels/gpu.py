"""Which kernels run on a GPU: CuPy's where CuPy works, else Triton's, which compute the same bits."""

from __future__ import annotations

import logging
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import torch

from emsyolo.process import process_rank

log = logging.getLogger(__name__)


@cache
def why_not_cupy() -> str | None:
    """What keeps CuPy from running here, with what to do; None where it works. Looked up once in a process."""
    built_for = torch.version.cuda
    if built_for is None:
        return "torch is built without CUDA"
    major = int(built_for.split(".")[0])
    install = f"pip install 'cupy-cuda{major}x[ctk]'"
    if find_spec("cupy") is None:
        return f"CuPy is not installed; {install}"
    try:
        import cupy
    except Exception as error:
        # CuPy's own message is a page long; what it came from is a line.
        return f"CuPy cannot be imported ({_line(error.__cause__ or error)}); {install}"
    try:
        runtime = cupy.cuda.runtime.runtimeGetVersion() // 1000
        if runtime != major:
            return (
                f"CuPy is for CUDA {runtime}, torch for CUDA {major}; pip uninstall cupy-cuda{runtime}x, then {install}"
            )
        if cupy.cuda.runtime.getDeviceCount() == 0:
            return "CuPy sees no CUDA device"
    except Exception as error:
        return f"CuPy finds no driver that it can use ({_line(error)}); nvidia-smi shows the driver's CUDA version"
    try:
        cupy.cuda.nvrtc.getVersion()
    except Exception as error:
        return f"CuPy does not find NVRTC, its compiler ({_line(error)}); {install}, which brings it"
    return None


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def check_cupy() -> None:
    """Refuse `neuron.backend=cupy` where it does not work.

    Raises:
        ValueError: why, and what to do.
    """
    why = why_not_cupy()
    if why is not None:
        raise ValueError(f"neuron.backend is cupy: {why}; or neuron.backend=auto, which takes what works")


def why_not_triton() -> str | None:
    """What keeps Triton from running on the device; None where it works."""
    if find_spec("triton") is None:
        return "Triton is not installed"
    try:
        from triton.runtime import driver

        driver.active.get_current_device()  # builds what Triton launches kernels with, by a C compiler
    except Exception as error:
        return f"Triton does not run ({_line(error)})"
    return None


@cache
def _choice() -> ModuleType | None:
    """The module of kernels, None where neither CuPy nor Triton works; made, and said, once."""
    why = why_not_cupy()
    if why is None:
        return import_module("emsyolo.neuron.kernels.cuda")
    why_not = why_not_triton()
    if why_not is None:
        _warn("Triton compiles the neurons", why)
        return import_module("emsyolo.neuron.kernels.triton_kernels")
    _warn("torch computes the neurons, and keeps no bits", f"{why}; {why_not}")
    return None


def _warn(taken: str, why: str) -> None:
    if process_rank() == 0:
        log.warning("neuron.backend=auto on a GPU: %s: %s", taken, why)


@torch.compiler.assume_constant_result
def available() -> bool:
    """Whether a GPU has compiled kernels here."""
    return _choice() is not None


def kernels() -> ModuleType:
    """The kernels for a GPU.

    Raises:
        ValueError: there are none; says what to install.
    """
    found = _choice()
    if found is None:
        raise ValueError(f"there are no kernels for this GPU: {why_not_cupy()}; {why_not_triton()}")
    return found
