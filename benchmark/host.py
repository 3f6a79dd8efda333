"""What a neuron on a GPU costs the host: the launch code with a stand-in for CuPy whose kernels do nothing.

Maps lie on the CPU, so that no GPU is needed and nothing but Python, torch's dispatcher and the allocator is timed, in
the time of the process.

    python benchmark/host.py [--out FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from interleaved import about

from emsyolo.neuron.kernels import compiled, cuda, operator

REPEATS, ROUNDS = 100, 60


def empty_cupy() -> types.ModuleType:
    """A CuPy whose kernels do nothing."""

    def launch(grid: object, block: object, arguments: object, *, stream: object = None) -> None:
        """Nothing."""

    stand_in: Any = types.ModuleType("cupy")
    stand_in.RawModule = lambda **_: types.SimpleNamespace(get_function=lambda name: launch)
    stand_in.cuda = types.SimpleNamespace(
        Device=lambda index: contextlib.nullcontext(),
        Stream=types.SimpleNamespace(from_external=lambda stream: stream),
    )
    return stand_in  # type: ignore[no-any-return]


def best_us(run: Callable[[], object]) -> float:
    """The shortest mean of several rounds, us."""
    for _ in range(REPEATS):
        run()
    rounds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        for _ in range(REPEATS):
            run()
        rounds.append((time.process_time() - start) / REPEATS * 1e6)
    return round(min(rounds), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.threads, args.device = 1, "cpu"
    sys.modules["cupy"] = empty_cupy()
    torch.cuda.current_stream = lambda device=None: types.SimpleNamespace(cuda_stream=0)  # type: ignore[assignment, return-value]
    torch.cuda.current_device = lambda: None  # type: ignore[assignment, return-value]
    compiled.forward = lambda *given, spike_dtype=None, **more: cuda.forward(*given, **more)
    compiled.backward, compiled.unpack = cuda.backward, cuda.unpack
    x = torch.randn(4, 1, 8, 4, 4)
    leaf, constants = x.clone().requires_grad_(), (0.25, 0.5, 1.0, False)

    def inference() -> None:
        with torch.inference_mode():
            operator.run_lif(x, None, *constants, False, None, False)

    def training(neurons: int = 1) -> None:
        spikes = leaf
        for _ in range(neurons):
            spikes, _, _ = operator.run_lif(spikes, None, *constants, True, None, False)
        torch.autograd.grad(spikes, leaf, x)

    found = {
        "a launch": best_us(lambda: cuda.unpack(torch.empty(1, 1, 8, 4, 4, dtype=torch.uint8), 4, torch.float32)),
        "forward": best_us(inference),
        "forward and backward": best_us(training),
        "the same of ten": best_us(lambda: training(10)),
        "a sum of two maps, to compare": best_us(lambda: x + x),
    }
    for name, us in found.items():
        print(f"{name:32s} {us:7.1f} us")
    if args.out:
        args.out.write_text(json.dumps({**about(args, ("out",)), "us": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
