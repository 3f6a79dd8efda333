"""How fast a detector answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from emsyolo.device import named


def measure_speed(
    run: Callable[[int], object],
    *,
    batch_size: int,
    device: torch.device,
    seconds: float = 3.0,
    max_runs: int = 200,
    warm_up: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """Latency for a single image and throughput in batches.

    Waits for a CUDA device before each reading of the clock. Takes about `4 * seconds` at most, or four runs where one
    takes longer.

    Args:
        run: detects in n images, from frames to boxes; called with 1 and with `batch_size`.
        batch_size: images per run for the throughput, >= 1.
        device: that `run` computes on, which is only said.
        seconds: limit for each warm-up and each measurement.
        max_runs: limit for each measurement.
        warm_up: runs before each measurement.
        clock: seconds that only grow.

    Returns:
        `latency_ms` {`p50`, `p95`} at batch 1, `throughput` in images/s, and `speed_of` {`batch`, `threads`, `device`}:
        with how many images at once the throughput was measured, on how many threads of which device.

    Raises:
        ValueError: batch_size or max_runs < 1.
    """
    if batch_size < 1 or max_runs < 1:
        raise ValueError(f"batch_size is {batch_size} and max_runs is {max_runs}; expected at least 1 for both")

    def durations(n_images: int) -> list[float]:
        _time_runs(run, n_images, seconds=seconds, max_runs=warm_up, clock=clock)
        return _time_runs(run, n_images, seconds=seconds, max_runs=max_runs, clock=clock)

    p50, p95 = np.percentile(durations(1), [50, 95]) * 1000
    batches = durations(batch_size)
    return {
        "latency_ms": {"p50": float(p50), "p95": float(p95)},
        "throughput": batch_size * len(batches) / sum(batches),
        "speed_of": {"batch": batch_size, "threads": torch.get_num_threads(), "device": named(device)},
    }


def _time_runs(
    run: Callable[[int], object], n_images: int, *, seconds: float, max_runs: int, clock: Callable[[], float]
) -> list[float]:
    """Durations of single runs, s: at most `max_runs`, of which the last one starts within `seconds`."""
    _sync()
    readings = [clock()]
    while len(readings) <= max_runs and (len(readings) == 1 or readings[-1] - readings[0] < seconds):
        run(n_images)
        _sync()
        readings.append(clock())
    return np.diff(readings).tolist()


def _sync() -> None:
    """Wait for the CUDA device, where one is in use."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
