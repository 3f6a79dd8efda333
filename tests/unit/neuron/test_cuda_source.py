"""The kernels for a GPU without one: compiled for it, and their arithmetic run on the CPU from the same text."""

from __future__ import annotations

import ctypes
import math
import shutil
import subprocess
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import Tensor

from emsyolo.neuron.kernels import cuda, operator, reference
from emsyolo.neuron.kernels import gpu as choice
from emsyolo.neuron.kernels.layout import integer_fields, rows_for
from emsyolo.neuron.lif import LIF

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
KERNELS = ("lif_forward", "lif_backward", "lif_unpack", "ilif_forward", "ilif_backward", "ilif_unpack")
RULES = [(-math.inf, 0.0, False), (0.0, 1.0, True), (-10.0, 10.0, False)]  # plain, signed, imbalanced
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
    assert all(f".text.{name}".encode() in binary for name in KERNELS)
    assert (b".text.if_forward" in binary) == (dtype.itemsize > 2)


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[torch.dtype, ctypes.CDLL]:
    """The kernels' text compiled for this CPU, per dtype."""
    if COMPILER is None:
        pytest.skip("no C++ compiler on this machine")
    folder = tmp_path_factory.mktemp("lif")
    found = {}
    for dtype in DTYPES:
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
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
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
        soft, 1, wide,
    )  # fmt: skip
    assert torch.equal(spikes, expected)
    assert torch.equal(v, last)
    _, numbas, _ = operator.lif(x, start, 0.25, 0.5, 1.0, bool(soft), keep=True)
    assert torch.equal(bits, numbas)
    again = torch.empty_like(x)
    library.lif_unpack(address(bits), address(again), count, steps, wide)
    assert torch.equal(again, expected)
    gradient = torch.empty_like(x)
    library.lif_backward(
        address(upstream), address(bits), address(gradient), count, steps, real(0.25), real(1.0), soft, wide
    )
    if dtype.itemsize == 2:  # the reference sums in that type; numba, as this, in float32
        assert torch.equal(gradient, operator.lif_backward(upstream, numbas, 0.25, 1.0, bool(soft)))
    else:
        (wanted,) = torch.autograd.grad(expected, leaf, upstream)
        torch.testing.assert_close(gradient, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("wide", [0, 1])
@pytest.mark.parametrize("levels", [1, 4, 8, 127])
@pytest.mark.parametrize("steps", [1, 3, 5])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_arithmetic_of_integers_is_the_references(
    libraries: dict[torch.dtype, ctypes.CDLL], dtype: torch.dtype, steps: int, levels: int, wide: int
) -> None:
    torch.manual_seed(steps)
    library, neurons = libraries[dtype], 64
    x = ((torch.randn(steps, neurons, dtype=torch.float64) * 16).round() / 4).to(dtype)
    upstream, start = torch.randn(steps, neurons).to(dtype), torch.rand(neurons).mul(4).round().div(4).to(dtype)
    leaf = x.clone().requires_grad_()
    expected, last = reference.ilif_steps(leaf, start, decay=0.25, input_scale=0.5, levels=levels)
    real = ctypes.c_double if dtype == torch.float64 else ctypes.c_float
    v = start.to(torch.float64 if dtype == torch.float64 else torch.float32, copy=True)
    width, per_byte = integer_fields(levels)
    spikes, bits = torch.empty_like(x), torch.empty(rows_for(steps, levels), neurons, dtype=torch.uint8)
    count = ctypes.c_longlong(neurons)
    library.ilif_forward(
        address(x), count, address(v), address(spikes), address(bits), count, steps, real(0.25), real(0.5),
        real(levels), width, per_byte, 1, wide,
    )  # fmt: skip
    assert torch.equal(spikes, expected)
    assert torch.equal(v, last)
    _, numbas, _ = operator.ilif(x, start, 0.25, 0.5, levels, keep=True)
    assert torch.equal(bits, numbas)
    again, gradient = torch.empty_like(x), torch.empty_like(x)
    library.ilif_unpack(address(bits), address(again), count, steps, width, per_byte, wide)
    assert torch.equal(again, expected)
    library.ilif_backward(
        address(upstream), address(bits), address(gradient), count, steps, real(0.25), real(0.5), width, per_byte, wide
    )
    if dtype.itemsize == 2:  # the reference sums in that type; numba, as this, in float32
        assert torch.equal(gradient, operator.ilif_backward(upstream, numbas, 0.25, 0.5, levels))
    else:
        (wanted,) = torch.autograd.grad(expected, leaf, upstream)
        torch.testing.assert_close(gradient, wanted, rtol=1e-6, atol=1e-6)


def test_still_image_is_read_once_per_step_from_one_row(libraries: dict[torch.dtype, ctypes.CDLL]) -> None:
    x = torch.full((1, 4), 0.375)
    v, spikes, one = torch.full((4,), torch.nan), torch.empty(3, 4), ctypes.c_longlong(4)
    constants = (ctypes.c_float(0.25), ctypes.c_float(0.5), ctypes.c_float(0.5))
    libraries[torch.float32].lif_forward(
        address(x), ctypes.c_longlong(0), address(v), address(spikes), address(None), one, 3, *constants, 0, 0, 1
    )  # what v held before is not read
    # u: 0.375 | 0.46875 | 0.4921875: never
    assert not spikes.any()
    assert v.tolist() == [0.4921875] * 4


@pytest.mark.parametrize("wide", [0, 1])
@pytest.mark.parametrize("rule", RULES)
def test_arithmetic_of_integrate_and_fire_is_the_references(
    libraries: dict[torch.dtype, ctypes.CDLL], rule: tuple[float, float, bool], wide: int
) -> None:
    torch.manual_seed(0)
    x, count = (torch.randn(20, 64) * 8).round() / 4, ctypes.c_longlong(64)
    v, net, spikes = torch.rand(64), torch.zeros(64), torch.empty(20, 64)
    negative, repay, needs_spike = rule
    expected = reference.if_steps(x, v, net, negative=negative, repay=repay, needs_spike=needs_spike)
    libraries[torch.float32].if_forward(
        address(x), count, address(v), address(net), address(spikes), count, 20, ctypes.c_float(negative),
        ctypes.c_float(repay), int(needs_spike), wide,
    )  # fmt: skip
    for wanted, found in zip(expected, (spikes, v, net), strict=True):
        assert torch.equal(wanted, found)


@pytest.fixture(params=["cuda", "triton_kernels"])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device, and the kernels that run on it: CuPy's, if it works, and Triton's."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    why = choice.why_not_cupy() if request.param == "cuda" else None
    if why is not None:
        pytest.skip(why)
    module = import_module(f"emsyolo.neuron.kernels.{request.param}")
    monkeypatch.setattr(choice, "_choice", lambda: module)


def permuted(x: Tensor) -> Tensor:
    return x.transpose(1, -1).contiguous().transpose(1, -1)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize("layout", [lambda x: x, permuted, lambda x: x[..., ::2]], ids=["dense", "permuted", "cut out"])
@pytest.mark.parametrize(("steps", "neurons"), [(1, 7), (4, 4096), (5, 4096), (2000, 8)])
def test_a_gpu_gives_what_the_cpu_gives(
    gpu: None, steps: int, neurons: int, layout: Callable[[Tensor], Tensor], soft: bool, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    x = layout(((torch.randn(steps, 2, 3, neurons, dtype=torch.float64) * 8).round() / 8).to(dtype))
    upstream = torch.randn(x.shape).to(dtype)
    start = torch.rand(x.shape[1:]).mul(4).round().div(8).to(torch.promote_types(dtype, torch.float32))
    for v in (None, start):
        results = []
        for device in ("cpu", "cuda"):
            leaf = x.to(device).requires_grad_()
            first = None if v is None else v.to(device)
            spikes, bits, last = operator.lif(leaf, first, 0.25, 0.5, 1.0, soft, keep=True)
            (gradient,) = torch.autograd.grad(spikes, leaf, upstream.to(device))
            results.append([one.cpu() for one in (spikes, bits, last, gradient, operator.unpack(bits, steps, dtype))])
        for host, device_side in zip(*results, strict=True):
            torch.testing.assert_close(device_side, host, rtol=1e-6 if dtype.itemsize > 2 else 1e-2, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("neurons", [7, 4096])
def test_a_gpu_integrates_as_the_cpu_does(gpu: None, neurons: int, rule: tuple[float, float, bool]) -> None:
    x, v = (torch.randn(20, 2, neurons) * 8).round() / 4, torch.rand(2, neurons)
    host = operator.if_steps(x, v, torch.zeros_like(v), *rule)
    device_side = operator.if_steps(x.cuda(), v.cuda(), torch.zeros_like(v).cuda(), *rule)
    for wanted, found in zip(host, device_side, strict=True):
        assert torch.equal(wanted, found.cpu())


@pytest.mark.gpu
@pytest.mark.parametrize("levels", [1, 4, 8])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_gpu_gives_the_integers_that_the_cpu_gives(gpu: None, dtype: torch.dtype, levels: int) -> None:
    x = ((torch.randn(5, 2, 3, 4096, dtype=torch.float64) * 16).round() / 4).to(dtype)
    upstream, results = torch.randn(x.shape).to(dtype), []
    for device in ("cpu", "cuda"):
        leaf = x.to(device).requires_grad_()
        spikes, bits, last = operator.ilif(leaf, None, 0.25, 1.0, levels, keep=True)
        (gradient,) = torch.autograd.grad(spikes, leaf, upstream.to(device))
        again = operator.unpack_integers(bits, 5, levels, dtype)
        results.append([one.cpu() for one in (spikes, bits, last, gradient, again)])
    for host, device_side in zip(*results, strict=True):
        torch.testing.assert_close(device_side, host, rtol=1e-6 if dtype.itemsize > 2 else 1e-2, atol=1e-6)


@pytest.mark.gpu
def test_torch_knows_the_operators_of_a_gpu(gpu: None) -> None:
    x = torch.randn(5, 2, 3, 4, device="cuda")
    _, bits, _ = operator.lif(x, None, 0.25, 0.5, 1.0, False, keep=True)
    torch.library.opcheck(operator.lif, (x, None, 0.25, 0.5, 1.0, False, False))
    torch.library.opcheck(operator.lif_backward, (x, bits, 0.25, 1.0, False))
    torch.library.opcheck(operator.unpack, (bits, len(x), torch.float32))
    torch.library.opcheck(operator.if_steps, (x, torch.rand_like(x[0]), torch.zeros_like(x[0]), 0.0, 1.0, True))


@pytest.mark.gpu
def test_kernels_run_on_the_current_stream_and_compiled(gpu: None) -> None:
    x, node = torch.randn(5, 2, 4096, device="cuda", requires_grad=True), LIF()
    expected = node(x)
    node.reset()
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.cuda._sleep(10_000_000)
        on_the_side = node(x * 1)
    torch.cuda.synchronize()
    node.reset()
    compiled = torch.compile(node, fullgraph=True)(x)
    assert torch.equal(on_the_side, expected)
    assert torch.equal(compiled, expected)
