"""The kernels in Triton without a GPU: interpreted, and compiled for one."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

TYPES = {"float32": "*fp32", "float64": "*fp64", "bfloat16": "*i16", "float16": "*fp16"}
MAPS = ("x", "grad", "spikes", "to", "add", "total", "more", "joined")
REALS = ("before", "after", "last", "net", "scale", "shift", "mean", "var", "weight", "factors", "sums")
BINARY = {"DECAY": 0.25, "V_THRESHOLD": 0.5, "HALF_WIDTH": 0.5, "SOFT": False, "STARTS": True}
BINARY |= {"KEEP": True, "LAST": True}
FIELDS = {"WIDTH": 4, "PER_BYTE": 2}
INTEGER = {"DECAY": 0.25, "SCALE": 0.5, "LEVELS": 4.0, "ROUNDING": 12582912.0, "STARTS": True} | FIELDS
INTEGER |= {"KEEP": True, "LAST": True}
ADDED = {"ADDS": True, "TOTAL": True, "SMALL": True}
CHAIN = {"DECAY": 0.25, "SLOPE": 1.0, "INSIDE": 1, "STOPS": 0} | FIELDS
SUMS = CHAIN | {"MORE": True, "JOINS": True}
KERNELS: dict[str, dict[str, object]] = {
    "source.forward": BINARY,
    "source.backward": {"DECAY": 0.25, "SLOPE": 1.0, "SOFT": True},
    "source.unpack": {"LOWEST": 1, "LARGEST": 7} | FIELDS,
    "source.integer_forward": INTEGER,
    "source.integer_backward": {"DECAY": 0.25, "SCALE": 0.5} | FIELDS,
    "source.integrate": {"NEGATIVE": -math.inf, "REPAY": 0.0, "NEEDS_SPIKE": True},
    "norm_source.forward": BINARY | ADDED,
    "norm_source.integer_forward": INTEGER | ADDED,
    "norm_source.through": CHAIN | {"JOINED": False, "BATCH": True, "SMALL": True},
    "norm_source.sums": SUMS | {"SIDE": True, "ROWS": 16, "COLUMNS": 64, "together": 1},
    "norm_source.sums in planes": SUMS | {"SIDE": False, "ROWS": 1, "COLUMNS": 1024},
}
DTYPES_OF = {"source.integrate": ["float32", "float64"]}  # potentials of converted networks are float32


@pytest.mark.slow
def test_interpreted_kernels_give_numbas_bits() -> None:
    pytest.importorskip("triton", reason="Triton comes with the CUDA build of torch")
    script = Path(__file__).with_name("triton_by_interpreter.py")
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(script.parents[3])}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("kernel", "dtype"), [(one, other) for one in KERNELS for other in DTYPES_OF.get(one, TYPES)])
@pytest.mark.parametrize(("architecture", "steps"), [(80, None), (90, None), (90, 1)])
def test_compiles_for_a_gpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, architecture: int, steps: int | None, kernel: str, dtype: str
) -> None:
    triton = pytest.importorskip("triton", reason="Triton comes with the CUDA build of torch")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    text = _compiled(triton, architecture, steps, kernel, dtype)
    assert "fma" not in text
    # A thread has several neurons side by side, and stores what it has of them at once.
    stores = [line for line in text.splitlines() if "st.global" in line]
    if "sums" in kernel:  # which stores two numbers of a channel besides
        stores = [line for line in stores if "b32" not in line or ".v" in line]
    assert stores
    assert all(".v2" in line or ".v4" in line or "st.global.b64" in line for line in stores), stores


def _compiled(triton: Any, architecture: int, steps: int | None, kernel: str, dtype: str) -> str:
    """The PTX, for maps and rows that are aligned to 16 bytes; Triton takes a 1 for a constant."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    module, name = kernel.split()[0].split(".")
    function = getattr(import_module(f"emsyolo.neuron.kernels.triton_{module}"), name)
    real = "float64" if dtype == "float64" else "float32"
    constants = KERNELS[kernel] | {
        "BFLOAT16": dtype == "bfloat16",
        "REAL": getattr(triton.language, real),
    }
    if "sums" not in kernel:
        constants["BLOCK"] = 1024
    if steps is not None:
        constants |= {"steps": steps}
    types = dict.fromkeys(MAPS, TYPES[dtype]) | dict.fromkeys(REALS, TYPES[real])
    types |= {"bits": "*u8", "row": "i64", "neurons": "i64", "channels": "i64", "together": "i64", "steps": "i32"}
    if "sums" in kernel:
        types["to"] = TYPES[real]
    types |= dict.fromkeys(constants, "constexpr")
    names = function.arg_names
    source = ASTSource(
        function,
        {name: types[name] for name in names},
        constexprs={(names.index(name),): value for name, value in constants.items()},
        attrs={
            (i,): [["tt.divisibility", 16]] for i, name in enumerate(names) if types[name] not in ("constexpr", "i32")
        },
    )
    target = GPUTarget("cuda", architecture, 32)
    text = triton.compile(source, target=target, options={"enable_fp_fusion": False}).asm["ptx"]
    assert isinstance(text, str)
    return text


def test_functions_are_called_as_those_of_cupy_are() -> None:
    pytest.importorskip("triton", reason="Triton comes with the CUDA build of torch")
    from emsyolo.neuron.kernels import cuda, triton_kernels

    names = ["forward", "backward", "unpack", "integer_forward", "integer_backward", "integer_unpack", "integrate"]
    names += ["norm_forward", "norm_integer_forward", "norm_backward"]
    for name in names:
        assert signature(getattr(triton_kernels, name)) == signature(getattr(cuda, name)), name
