"""The kernels for a GPU without one: compiled for it, and their arithmetic run on the CPU from the same text."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from torch import Tensor

from emsyolo.neuron.kernels import cuda, operator, reference
from emsyolo.neuron.lif import LIF

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
KERNELS = ("lif_forward", "lif_backward", "lif_unpack")
COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_compiles_for_a_gpu(architecture: str, dtype: torch.dtype) -> None:
    nvrtc = pytest.importorskip("cuda.bindings.nvrtc", reason="NVRTC comes with the CUDA build of torch")
    _, program = nvrtc.nvrtcCreateProgram(cuda.source().encode(), b"lif.cu", 0, [], [])
    flags = [f"--gpu-architecture={architecture}".encode(), *(one.encode() for one in cuda.options(dtype))]
    (result,) = nvrtc.nvrtcCompileProgram(program, len(flags), flags)
    _, size = nvrtc.nvrtcGetProgramLogSize(program)
    log = bytearray(size)  # not bytes: those of length 1 are shared by the whole process
    nvrtc.nvrtcGetProgramLog(program, log)
    assert result == nvrtc.nvrtcResult.NVRTC_SUCCESS, log.decode()
    _, size = nvrtc.nvrtcGetCUBINSize(program)
    binary = bytearray(size)
    nvrtc.nvrtcGetCUBIN(program, binary)
    assert all(name.encode() in binary for name in KERNELS)


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[torch.dtype, ctypes.CDLL]:
    """The kernels' text compiled for this CPU, per dtype; float16 has instructions of a GPU."""
    if COMPILER is None:
        pytest.skip("no C++ compiler on this machine")
    folder = tmp_path_factory.mktemp("lif")
    found = {}
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        library = folder / f"{dtype}.so"
        definitions = [one for one in cuda.options(dtype) if one.startswith("-D")]
        flags = ["-std=c++17", "-O2", "-shared", "-fPIC", "-ffp-contract=off", "-x", "c++"]
        source = Path(cuda.__file__).with_name("lif.cu")
        subprocess.run([COMPILER, *flags, *definitions, source, "-o", library], check=True)
        found[dtype] = ctypes.CDLL(str(library))
    return found


def address(x: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if x is None else x.data_ptr())


@pytest.mark.parametrize("wide", [0, 1])
@pytest.mark.parametrize("soft", [0, 1])
@pytest.mark.parametrize("steps", [1, 3, 4, 9])
@pytest.mark.parametrize("dtype", DTYPES[:3], ids=str)
def test_arithmetic_is_the_references(
    libraries: dict[torch.dtype, ctypes.CDLL], dtype: torch.dtype, steps: int, soft: int, wide: int
) -> None:
    torch.manual_seed(steps)
    library = libraries[dtype]
    neurons = 64
    x = ((torch.randn(steps, neurons, dtype=torch.float64) * 8).round() / 8).to(dtype)
    upstream = torch.randn(steps, neurons).to(dtype)
    leaf = x.clone().requires_grad_()
    start = torch.rand(neurons).mul(4).round().div(8).to(dtype)
    expected, last = reference.lif_steps(
        leaf, start, decay=0.25, v_threshold=0.5, surrogate_width=1.0, soft_reset=bool(soft)
    )
    real = ctypes.c_double if dtype == torch.float64 else ctypes.c_float
    v = start.to(torch.float64 if dtype == torch.float64 else torch.float32, copy=True)
    spikes, bits = torch.empty_like(x), torch.empty(-(-steps // 4), neurons, dtype=torch.uint8)
    count = ctypes.c_longlong(neurons)
    library.lif_forward(
        address(x), count, address(v), address(spikes), address(bits), count, steps, real(0.25), real(0.5), real(0.5),
        soft, wide,
    )  # fmt: skip
    assert torch.equal(spikes, expected)
    assert torch.equal(v.to(dtype), last)
    _, numbas, _ = operator.lif(x, start, 0.25, 0.5, 1.0, bool(soft), keep=True)
    assert torch.equal(bits, numbas)
    again = torch.empty_like(x)
    library.lif_unpack(address(bits), address(again), count, steps, wide)
    assert torch.equal(again, expected)
    gradient = torch.empty_like(x)
    library.lif_backward(
        address(upstream), address(bits), address(gradient), count, steps, real(0.25), real(1.0), soft, wide
    )
    if dtype == torch.bfloat16:  # the reference sums in bfloat16; numba, as this, in float32
        assert torch.equal(gradient, operator.lif_backward(upstream, numbas, 0.25, 1.0, bool(soft)))
    else:
        (wanted,) = torch.autograd.grad(expected, leaf, upstream)
        torch.testing.assert_close(gradient, wanted, rtol=1e-6, atol=1e-6)


def test_still_image_is_read_once_per_step_from_one_row(libraries: dict[torch.dtype, ctypes.CDLL]) -> None:
    x = torch.full((1, 4), 0.375)
    v, spikes, one = torch.zeros(4), torch.empty(3, 4), ctypes.c_longlong(4)
    constants = (ctypes.c_float(0.25), ctypes.c_float(0.5), ctypes.c_float(0.5))
    libraries[torch.float32].lif_forward(
        address(x), ctypes.c_longlong(0), address(v), address(spikes), address(None), one, 3, *constants, 0, 1
    )
    # u: 0.375 | 0.46875 | 0.4921875: never
    assert not spikes.any()
    assert v.tolist() == [0.4921875] * 4


def test_cupy_that_is_not_installed_is_named() -> None:
    if cuda.available():
        pytest.skip("CuPy is installed")
    with pytest.raises(ValueError, match="cupy, which is not installed; pip install cupy-cuda12x or cupy-cuda13x"):
        LIF(backend="cupy")


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("neurons", [7, 4096])
@pytest.mark.parametrize("steps", [1, 4, 5])
def test_a_gpu_gives_what_the_cpu_gives(steps: int, neurons: int, dtype: torch.dtype) -> None:
    if not (torch.cuda.is_available() and cuda.available()):
        pytest.skip("no CUDA device, or no CuPy")
    torch.manual_seed(0)
    x = ((torch.randn(steps, 2, neurons, dtype=torch.float64) * 8).round() / 8).to(dtype)
    upstream = torch.randn(steps, 2, neurons).to(dtype)
    results = []
    for device in ("cpu", "cuda"):
        leaf = x.to(device).requires_grad_()
        spikes, bits, v = operator.lif(leaf, None, 0.25, 0.5, 1.0, False, keep=True)
        (gradient,) = torch.autograd.grad(spikes, leaf, upstream.to(device))
        results.append([one.cpu() for one in (spikes, bits, v, gradient, operator.unpack(bits, steps, dtype))])
    for host, device_side in zip(*results, strict=True):
        torch.testing.assert_close(device_side, host, rtol=1e-6 if dtype.itemsize > 2 else 1e-2, atol=1e-6)
