"""Which kernels a GPU gets, told by stand-ins for CuPy that do not work."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any, NoReturn

import pytest
import torch

from emsyolo.neuron.ilif import ILIF
from emsyolo.neuron.kernels import cuda, gpu, launch
from emsyolo.neuron.lif import LIF
from emsyolo.neuron.pilif import PILIF
from emsyolo.neuron.plif import PLIF

WHY_NOT_TRITON = gpu.why_not_triton


class CUDARuntimeError(RuntimeError):
    """As CuPy's own."""


class CuPy(ModuleType):
    """What is asked of CuPy: for CUDA 13, with a driver, a device and NVRTC unless told otherwise."""

    def __init__(self, runtime: int = 13020, driver: bool = True, devices: int = 1, nvrtc: bool = True) -> None:
        super().__init__("cupy")
        self.__spec__ = ModuleSpec("cupy", None)

        def count() -> int:
            if not driver:
                raise CUDARuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient")
            return devices

        def version() -> tuple[int, int]:
            if not nvrtc:
                raise RuntimeError("CuPy failed to load libnvrtc.so.13:\n  OSError: no such file")
            return 13, 0

        self.cuda: Any = SimpleNamespace(
            runtime=SimpleNamespace(runtimeGetVersion=lambda: runtime, getDeviceCount=count),
            nvrtc=SimpleNamespace(getVersion=version),
        )


class Unimportable:
    """A finder by which `import cupy` fails as CuPy does it: a page of advice, and the cause."""

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        return ModuleSpec("cupy", self) if name == "cupy" else None  # type: ignore[arg-type]

    def create_module(self, _: ModuleSpec) -> None: ...

    def exec_module(self, _: ModuleType) -> NoReturn:
        raise ImportError("=====\nFailed to import CuPy.\n=====") from OSError("libcudart.so.13: not found")


@pytest.fixture(autouse=True)
def afresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is known yet, torch is for CUDA 13, Triton works, and CuPy is not installed."""

    def forget() -> None:
        gpu.why_not_cupy.cache_clear()
        gpu._choice.cache_clear()

    forget()
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(gpu, "why_not_triton", lambda: None)
    monkeypatch.setitem(sys.modules, "cupy", None)  # type: ignore[arg-type]
    yield
    forget()


def install(monkeypatch: pytest.MonkeyPatch, cupy: CuPy | Unimportable) -> None:
    if isinstance(cupy, CuPy):
        monkeypatch.setitem(sys.modules, "cupy", cupy)
    else:
        monkeypatch.delitem(sys.modules, "cupy")
        monkeypatch.setattr(sys, "meta_path", [cupy, *sys.meta_path])


CASES: list[tuple[CuPy | Unimportable | None, str]] = [
    (None, r"CuPy is not installed; pip install 'cupy-cuda13x\[ctk\]'"),
    (Unimportable(), r"CuPy cannot be imported \(OSError: libcudart.so.13: not found\); pip install 'cupy-cuda13x"),
    (
        CuPy(driver=False),
        r"CuPy finds no driver that it can use \(CUDARuntimeError: cudaErrorInsufficientDriver.*nvidia",
    ),
    (CuPy(devices=0), "CuPy sees no CUDA device"),
    (
        CuPy(runtime=12060),
        r"CuPy is for CUDA 12, torch for CUDA 13; pip uninstall cupy-cuda12x, then pip install 'cupy",
    ),
    (
        CuPy(nvrtc=False),
        r"CuPy does not find NVRTC, its compiler \(RuntimeError: CuPy failed .*13: OSError: no such file\)",
    ),
]
each_case = pytest.mark.parametrize(
    ("cupy", "why"), CASES, ids=["not installed", "import", "driver", "device", "major", "nvrtc"]
)


@each_case
@pytest.mark.parametrize("neuron", [LIF, ILIF])
def test_cupy_that_is_asked_for_is_refused_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, neuron: Any, cupy: CuPy | Unimportable | None, why: str
) -> None:
    if cupy is not None:
        install(monkeypatch, cupy)
    with pytest.raises(ValueError, match=f"neuron.backend is cupy: {why}.*; or neuron.backend=auto"):
        neuron(backend="cupy")


@each_case
def test_auto_falls_back_to_triton_with_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, cupy: CuPy | Unimportable | None, why: str
) -> None:
    pytest.importorskip("triton", reason="Triton comes with the CUDA build of torch")
    if cupy is not None:
        install(monkeypatch, cupy)
    with caplog.at_level(logging.WARNING):
        assert gpu.kernels().__name__ == "emsyolo.neuron.kernels.triton_kernels"
        assert gpu.available()
        gpu.kernels()
    (said,) = caplog.messages
    assert said.startswith("neuron.backend=auto on a GPU: Triton compiles the neurons: CuPy")
    with pytest.raises(ValueError, match=why):
        gpu.check_cupy()
    assert gpu.why_not_cupy() in said


def no_compiler() -> NoReturn:
    raise RuntimeError("Failed to find C compiler.")


@pytest.mark.parametrize(
    ("triton", "why"),
    [
        (None, "Triton is not installed"),
        (no_compiler, r"Triton does not run \(RuntimeError: Failed to find C compiler\.\)"),
    ],
    ids=["not installed", "does not run"],
)
def test_without_triton_either_torch_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, triton: Any, why: str
) -> None:
    monkeypatch.setattr(gpu, "why_not_triton", WHY_NOT_TRITON)
    monkeypatch.setattr(gpu, "find_spec", lambda name: triton if name == "triton" else None)
    driver = SimpleNamespace(active=SimpleNamespace(get_current_device=triton))
    monkeypatch.setitem(sys.modules, "triton.runtime", SimpleNamespace(driver=driver))  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        assert not gpu.available()
        assert not gpu.available()
    (said,) = caplog.messages
    assert "torch computes the neurons, and keeps no bits: CuPy is not installed; pip install" in said
    assert re.search(why, said)
    assert [LIF()._on_gpu(torch.zeros(1)), ILIF()._on_gpu()] == ["torch", "torch"]
    with pytest.raises(ValueError, match=f"no kernels for this GPU: CuPy is not installed.*; {why}"):
        gpu.kernels()


def test_cupy_that_works_is_taken_without_a_word(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(monkeypatch, CuPy())
    with caplog.at_level(logging.WARNING):
        assert gpu.kernels() is cuda
    assert caplog.messages == []
    assert LIF(backend="cupy").backend == ILIF(backend="cupy").backend == "cupy"


def test_only_the_first_of_several_processes_warns(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gpu, "process_rank", lambda: 3)
    assert gpu.available()
    assert caplog.messages == []


def test_a_torch_without_cuda_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(ValueError, match="cupy: torch is built without CUDA"):
        LIF(backend="cupy")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_what_auto_takes_on_a_gpu(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    install(monkeypatch, CuPy())
    x: Any = SimpleNamespace(device=torch.device("cuda"), dtype=dtype)
    assert LIF()._backend(x) == ILIF()._backend(x) == "kernels"
    # Nothing compiled trains decays on a GPU, or passes the gradient through the reset with potentials in float32.
    assert PLIF()._backend(x) == PILIF()._backend(x) == "torch"
    assert LIF(detach_reset=False)._backend(x) == ("spikingjelly" if dtype == torch.float32 else "torch")


def test_torch_compile_takes_the_answer_for_a_constant() -> None:
    def shifted(x: torch.Tensor) -> torch.Tensor:
        return x + 1 if gpu.available() else x - 1

    compiled = torch.compile(shifted, backend="eager", fullgraph=True)
    assert torch.equal(compiled(torch.zeros(2)), shifted(torch.zeros(2)))


def test_other_dtypes_are_refused() -> None:
    for dtype in (torch.int32, torch.uint8, torch.complex64):
        with pytest.raises(ValueError, match=f"maps are {dtype}; expected one of torch.float16, "):
            launch.options(dtype)
        with pytest.raises(ValueError, match=f"maps are {dtype}"):
            LIF()(torch.zeros(1, 2, 3, dtype=dtype))


@pytest.mark.parametrize("newer", [True, False], ids=["CuPy 14", "CuPy 13"])
def test_torchs_streams_are_handed_over(monkeypatch: pytest.MonkeyPatch, newer: bool) -> None:
    stream = (
        SimpleNamespace(from_external=lambda torchs: ("by protocol", *torchs.__cuda_stream__())) if newer else object
    )
    cupy = CuPy()
    cupy.cuda.Stream, cupy.cuda.ExternalStream = stream, lambda handle: ("external", handle)
    install(monkeypatch, cupy)
    launch._stream.cache_clear()
    found = launch._stream(77, 0)
    launch._stream.cache_clear()
    assert found == (("by protocol", 0, 77) if newer else ("external", 77))
