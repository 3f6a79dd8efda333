"""What the tests on a GPU share."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch

from emsyolo.neuron.kernels import gpu


@pytest.fixture(scope="session", autouse=True)
def device() -> torch.device:
    """The first CUDA device, on which CuPy must work: a run of these tests without it would prove little."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    why = gpu.why_not_cupy()
    if why is not None:
        pytest.fail(f"there is a CUDA device, but CuPy does not work: {why}")
    return torch.device("cuda", 0)


@pytest.fixture
def waits() -> Callable[[Callable[[], object]], int]:
    """How often the host waits for the device while something runs, as torch itself notes it."""

    def counted(run: Callable[[], object]) -> int:
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                run()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return sum("synchroniz" in str(one.message) for one in caught)

    return counted
