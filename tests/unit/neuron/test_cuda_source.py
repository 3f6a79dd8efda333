"""The kernels compiled for GPUs, which needs none, and, where there is one, run on it."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor

from emsyolo.neuron.kernels import gpu as choice
from emsyolo.neuron.kernels import launch, norm_operator, operator
from emsyolo.neuron.lif import LIF

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
ARCHITECTURES = [75, 80, 86, 89, 90, 100, 120]
KERNELS = (
    "lif_forward", "lif_backward", "lif_unpack", "ilif_forward", "ilif_backward", "ilif_unpack", "norm_lif_forward",
    "norm_ilif_forward", "norm_sum", "norm_through",
)  # fmt: skip
RULES = [(-math.inf, 0.0, False), (0.0, 1.0, True), (-10.0, 10.0, False)]  # plain, signed, imbalanced


def compiled(text: str, architecture: str, dtype: torch.dtype) -> tuple[str, bytes]:
    """PTX and, of an architecture `sm_90`, not `compute_90`, machine code of the kernels' text."""
    nvrtc: Any = pytest.importorskip("cuda.bindings.nvrtc", reason="NVRTC comes with the CUDA build of torch")
    if int(architecture.split("_")[1]) not in nvrtc.nvrtcGetSupportedArchs()[1]:
        pytest.skip(f"this NVRTC does not know {architecture}")
    _, program = nvrtc.nvrtcCreateProgram(text.encode(), b"lif.cu", 0, [], [])
    # What CuPy adds.
    own = ("-ftz=true", "--device-as-default-execution-space")
    flags = [one.encode() for one in (f"--gpu-architecture={architecture}", *launch.options(dtype), *own)]
    (result,) = nvrtc.nvrtcCompileProgram(program, len(flags), flags)
    _, size = nvrtc.nvrtcGetProgramLogSize(program)
    log = bytearray(size)  # not bytes: those of length 1 are shared by the whole process
    nvrtc.nvrtcGetProgramLog(program, log)
    assert result == nvrtc.nvrtcResult.NVRTC_SUCCESS, log.decode()
    found = []
    for size_of, get in (
        (nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX),
        (nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN),
    ):
        part = bytearray(size_of(program)[1])
        get(program, part)
        found.append(bytes(part))
    return found[0].decode().strip("\0"), found[1]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("architecture", [ARCHITECTURES[0], 90, ARCHITECTURES[-1]])
def test_compiles_for_a_gpu(architecture: int, dtype: torch.dtype) -> None:
    ptx, binary = compiled(launch.source(), f"sm_{architecture}", dtype)
    assert all(f".text.{name}".encode() in binary for name in KERNELS)
    assert (b".text.if_forward" in binary) == (dtype.itemsize > 2)
    assert not re.search(r"\bfma\.", ptx), "rounds once where the reference rounds twice"


def only_wide(text: str) -> str:
    """The text without the path of single neurons."""
    assert text.count("if (wide)") == len(KERNELS) + 1
    return text.replace("if (wide)", "if (true)")


def narrow_stores(text: str, architecture: int, dtype: torch.dtype) -> dict[str, list[str]]:
    """Of each kernel what it stores otherwise than it should, on the path of neurons side by side.

    A thread stores 16 bytes of a map or of potentials at once, and the bits of as many neurons.
    """
    bits = {1: "b8", 2: "v2.u8", 4: "b32", 8: "v2.b32"}[launch.VECTOR_BYTES // dtype.itemsize]
    ptx, _ = compiled(only_wide(text), f"compute_{architecture}", dtype)
    found = {}
    for part in ptx.split(".entry ")[1:]:
        name, stores = part.split("(")[0].strip(), Counter(re.findall(r"\bst\.global\.([\w.]+)", part))
        assert stores, name
        if name in ("norm_sum", "norm_finish"):  # sums of channels, one by one
            sums = "f64" if dtype == torch.float64 else "f32"
            found[name] = [one for one in stores if one != sums and (name, one) != ("norm_sum", "v4.b32")]
            if name == "norm_sum" and "v4.b32" not in stores:
                found[name].append("no map 16 bytes at a time")
            continue
        found[name] = [one for one in stores if one != "v4.b32" and not (one == bits and name.endswith("forward"))]
        if stores[bits] > (bits != "v4.b32" and name.endswith("lif_forward")):
            found[name].append(bits)
    assert set(KERNELS) <= set(found)
    return {name: wrong for name, wrong in found.items() if wrong}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_all_stores_are_of_16_bytes(architecture: int, dtype: torch.dtype) -> None:
    assert narrow_stores(launch.source(), architecture, dtype) == {}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_maps_are_read_16_bytes_at_a_time_and_nothing_is_spilled(dtype: torch.dtype) -> None:
    ptx, _ = compiled(only_wide(launch.source()), "compute_90", dtype)
    real = "f64" if dtype == torch.float64 else "f32"
    bits = {2: "u16", 4: "u32", 8: "v2.u32"}[launch.VECTOR_BYTES // dtype.itemsize]
    for part in ptx.split(".entry ")[1:]:
        name, loads = part.split("(")[0].strip(), set(re.findall(r"\bld\.global\.(?:nc\.)?([\w.]+)", part))
        assert ".local." not in part, name
        # Bits of as many neurons, and of each of them the numbers of its channel.
        assert {one for one in loads if not one.startswith(("v4.", "v2.f64", "v2.u8"))} <= {real, bits}, name


@pytest.mark.parametrize(("dtype", "pair"), [(torch.bfloat16, "bf16x2"), (torch.float16, "f16x2")], ids=str)
def test_half_precision_is_rounded_two_numbers_at_a_time(dtype: torch.dtype, pair: str) -> None:
    """Rounded by hand, a bfloat16 takes more instructions than all else that a neuron does."""
    for architecture, number in ((75, 0), (80, len(KERNELS) - 2)):  # spikes of binary neurons are no numbers
        ptx, _ = compiled(only_wide(launch.source()), f"compute_{architecture}", dtype)
        parts = ptx.split(".entry ")[1:]
        assert sum(f"cvt.rn.{pair}.f32" in part for part in parts) == number


def test_stores_that_are_left_to_the_compiler_are_found() -> None:
    source = launch.source()
    left = source.replace("#ifdef __CUDA_ARCH__\n    if constexpr", "#if 0\n    if constexpr")
    assert left != source
    assert "lif_backward" in narrow_stores(left, 90, torch.bfloat16)


@pytest.fixture(params=["cuda", "triton_kernels"])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device, and the kernels that run on it: CuPy's, if it works, and Triton's."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    why = choice.why_not_cupy() if request.param == "cuda" else None
    if why is not None:
        pytest.fail(f"there is a CUDA device, but CuPy does not work: {why}")
    module = import_module(f"emsyolo.neuron.kernels.{request.param}")
    monkeypatch.setattr(choice, "_choice", lambda: module)


def same(host: tuple[list[Tensor], Tensor], on_device: tuple[list[Tensor], Tensor]) -> None:
    """Spikes, bits and potentials are the same to the bit; gradients, which are sums, are close."""
    for one, other in zip(host[0], on_device[0], strict=True):
        assert torch.equal(one, other)
    half = host[1].dtype.itemsize == 2
    torch.testing.assert_close(on_device[1], host[1], rtol=1e-2 if half else 1e-6, atol=1e-6)


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
            exact = (spikes, bits, operator.unpack(bits, steps, dtype), last)
            results.append(([one.cpu() for one in exact], gradient.cpu()))
        same(*results)


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
        exact = (spikes, bits, operator.unpack_integers(bits, 5, levels, dtype), last)
        results.append(([one.cpu() for one in exact], gradient.cpu()))
    same(*results)


@pytest.mark.gpu
@pytest.mark.parametrize("batch", [False, True], ids=["given statistics", "its own statistics"])
@pytest.mark.parametrize("layout", [lambda x: x, permuted], ids=["dense", "permuted"])
@pytest.mark.parametrize("dtype", DTYPES[:3], ids=str)
def test_a_gpu_normalises_as_the_cpu_does(
    gpu: None, dtype: torch.dtype, layout: Callable[[Tensor], Tensor], batch: bool
) -> None:
    x, numbers = layout(torch.randn(5, 2, 3, 8, 16).to(dtype)), torch.rand(4, 3)
    upstream, shortcut, results = torch.randn(x.shape).to(dtype), torch.randn(x.shape).to(dtype), []
    for device in ("cpu", "cuda"):
        leaf = x.to(device).requires_grad_()
        # Powers of two, so that scale and shift are the same on both.
        norm = (torch.zeros_like(numbers[0]), numbers[1] * 0 + 0.25, numbers[2].sign() * 2, numbers[3].mul(4).round())
        mean, var, weight, bias = (one.to(device) for one in norm)
        add, learnt = shortcut.to(device).requires_grad_(), (weight.requires_grad_(), bias.requires_grad_())
        spikes, bits, _, currents = norm_operator.norm_lif(
            leaf, mean, var, *learnt, 0.0, batch, add, None, 0.25, 0.5, 1.0, False, True, False, True
        )
        reads = (spikes, currents), (leaf, add, *learnt), (upstream.to(device), upstream.to(device))
        to_x, to_add, *to_norm = torch.autograd.grad(*reads)
        exact = [one.cpu() for one in (spikes, bits, currents)]
        results.append(((exact, torch.stack((to_x, to_add)).cpu()), torch.stack(to_norm).cpu()))
    same(results[0][0], results[1][0])
    torch.testing.assert_close(results[1][1], results[0][1], rtol=1e-4, atol=1e-4)


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
