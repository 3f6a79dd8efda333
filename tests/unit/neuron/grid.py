"""A stand-in for CuPy that runs whole grids on a CPU: `lif.cu` built by a C++ compiler, called by the real launch code.

It is no GPU: threads run one after the other, and what the source says in a GPU's own instructions is left out.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib.machinery
import re
import shutil
import subprocess
import sys
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from emsyolo.neuron.kernels import launch as launching

COMPILER = shutil.which("g++") or shutil.which("clang++") or shutil.which("c++")
SHIM = Path(__file__).with_name("grid.h")
CHECKS = "-fsanitize=alignment,null,bounds,shift,float-cast-overflow"
FLAGS = ("-std=c++17", "-O0", "-fPIC", "-ffp-contract=off", "-fno-strict-aliasing", "-fsanitize-recover=all", CHECKS)
STREAM = 77
WAITING = ("norm_sum",)  # kernels with __syncthreads


class Grid:
    """Compiled kernels and what was asked of them.

    Attributes:
        folder: of the libraries.
        launches: (kernel, blocks, wide) of each launch.
        blocks: those of a grid that are run; all by default.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.launches: list[tuple[str, int, bool]] = []
        self.blocks: Callable[[int], Iterable[int]] | None = None

    def module(self, *, code: str, options: tuple[str, ...]) -> types.SimpleNamespace:
        """As `cupy.RawModule`."""
        found = re.findall(r"KERNEL (\w+)\(([^)]*)\)", _preprocessed(code, options))
        kernels = {name: [one.strip() for one in of.split(",")] for name, of in found}
        library = self._library(code, options, kernels)
        real = np.float64 if "-DREAL=double" in options else np.float32
        return types.SimpleNamespace(get_function=lambda name: self._kernel(library, name, kernels[name], real))

    def _library(self, code: str, options: tuple[str, ...], kernels: dict[str, list[str]]) -> ctypes.CDLL:
        text = "\n".join(
            [SHIM.read_text(), code, *(_runner(name, of, name in WAITING) for name, of in kernels.items())]
        )
        made = self.folder / f"{hashlib.sha256((text + str(options)).encode()).hexdigest()[:16]}.so"
        if not made.exists():
            source, compiled = made.with_suffix(".cpp"), made.with_suffix(".o")
            source.write_text(text)
            definitions = [one for one in options if one.startswith("-D")]
            assert COMPILER is not None
            subprocess.run([COMPILER, *FLAGS, *definitions, "-c", source, "-o", compiled], check=True)
            # Linked without the checks' own run-time library: the shim counts what they find.
            subprocess.run([COMPILER, "-shared", compiled, "-o", made], check=True)
        return ctypes.CDLL(str(made))

    def _kernel(self, library: ctypes.CDLL, name: str, parameters: list[str], real: Any) -> Callable[..., None]:
        run = getattr(library, f"run_{name}")
        run.restype = None
        found = ctypes.c_int.in_dll(library, "undefined_behaviour")

        def launch(grid: tuple[int], block: tuple[int], given: tuple[Any, ...], *, stream: int) -> None:
            assert 1 <= grid[0] <= 2**31 - 1
            assert block == (launching.THREADS,)
            assert stream == STREAM
            passed = [_passed(one, of, real) for one, of in zip(given, parameters, strict=True)]
            self.launches.append((name, grid[0], bool(given[-1])))
            spans = [(0, grid[0])] if self.blocks is None else [(b, b + 1) for b in self.blocks(grid[0])]
            found.value = 0
            for span in spans:
                run(*passed, *(ctypes.c_uint(one) for one in (*grid, *block, *span)))
            assert found.value == 0, f"{name}: undefined behaviour, {found.value} times"

        return launch


def _preprocessed(code: str, options: tuple[str, ...]) -> str:
    """Without the kernels that are not there for half precision."""
    return code if "-DHALF=0" in options else re.sub(r"#if !HALF\n.*?\n#endif", "", code, flags=re.S)


def _runner(name: str, parameters: list[str], waits: bool) -> str:
    given = [one.split()[-1].lstrip("*") for one in parameters]
    block = f"for (threadIdx.x = 0; threadIdx.x < block; ++threadIdx.x) {name}({', '.join(given)});"
    kept = ""
    if waits:  # what a thread is called with must be known where no arguments are
        kept = "".join(
            f"static {one.replace('__restrict__ ', '')[: -len(name_)]}{name}_{name_};\n"
            for one, name_ in zip(parameters, given, strict=True)
        )
        kept += f"static void thread_{name}() {{ {name}({', '.join(f'{name}_{one}' for one in given)}); }}"
        block = "".join(f"{name}_{one} = {one}; " for one in given) + f"run_in_turns(thread_{name});"
    return f"""
{kept}
extern "C" void run_{name}({", ".join(parameters)}, unsigned grid, unsigned block, unsigned begin, unsigned end) {{
    gridDim.x = grid;
    blockDim.x = block;
    for (blockIdx.x = begin; blockIdx.x < end; ++blockIdx.x) {{ {block} }}
}}"""


def _passed(given: Any, parameter: str, real: Any) -> Any:
    """An argument of the type that the kernel declares, which must be the one that CuPy would pass."""
    if "*" in parameter:
        assert type(given) is int, parameter
        return ctypes.c_void_p(given)
    if parameter.startswith("real "):
        assert type(given) is real, parameter
        return (ctypes.c_double if real is np.float64 else ctypes.c_float)(float(given))
    wide = parameter.startswith("long long ")
    assert wide or parameter.startswith("int "), parameter
    assert type(given) is (np.int64 if wide else np.int32), parameter
    return (ctypes.c_longlong if wide else ctypes.c_int)(int(given))


@contextlib.contextmanager
def emulated(folder: Path, code: str | None = None) -> Any:
    """Within, `kernels.cuda` runs on CPU tensors.

    Args:
        folder: for what is compiled.
        code: another text of the kernels; None: their own.
    """
    if COMPILER is None:
        pytest.skip("no C++ compiler on this machine")
    grid = Grid(folder)
    fake: Any = types.ModuleType("cupy")
    fake.__spec__ = importlib.machinery.ModuleSpec("cupy", None)
    fake.RawModule = grid.module
    fake.cuda = types.SimpleNamespace(
        Device=lambda index: contextlib.nullcontext(),
        ExternalStream=lambda pointer, *_: pointer,
        Stream=types.SimpleNamespace(from_external=lambda stream: stream.__cuda_stream__()[1]),
    )
    current = types.SimpleNamespace(cuda_stream=STREAM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cupy", fake)
        patch.setattr(torch.cuda, "current_stream", lambda *_: current)
        patch.setattr(torch.cuda, "current_device", lambda: None)  # the index of the CPU
        if code is not None:
            patch.setattr(launching, "source", lambda: code)
        caches = (launching._kernel.cache_clear, launching._stream.cache_clear)
        try:
            for clear in caches:
                clear()
            yield grid
        finally:
            for clear in caches:
                clear()
