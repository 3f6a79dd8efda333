"""Timing that benchmarks share: contestants in turns, medians, ratios to a baseline."""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

Task = Callable[[], Any]


def about(args: argparse.Namespace, without: Collection[str]) -> dict[str, Any]:
    """What a result says of its run: machine, versions, date, commit, settings but for those `without`."""
    gpu = f", {torch.cuda.get_device_name()}" if args.device == "cuda" else ""
    return {
        "machine": f"{platform.processor() or platform.machine()}, {args.threads} threads{gpu}",
        "versions": {package: version(package) for package in ("torch", "spikingjelly", "numba", "emsyolo")},
        "date": datetime.now(UTC).date().isoformat(),
        **_commit(),
        "settings": {key: value for key, value in vars(args).items() if key not in without},
    }


def _commit() -> dict[str, str]:
    """That of the code, marked where it was changed since; nothing where this is no clone, or there is no git."""
    asked = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    with suppress(OSError, subprocess.CalledProcessError):
        said = subprocess.run(asked, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
        return {"commit": said.stdout.strip()}
    return {}


def interleaved(tasks: dict[str, Task], runs: int, description: str, *, baseline: str) -> dict[str, dict[str, float]]:
    """Medians in seconds of so many alternating runs, and how many times as fast as the baseline each task is.

    A task that a GPU has not the memory for, beside the others, is left out, and named.
    """
    for name, run in track(list(tasks.items()), description=f"{description}, warming up", transient=True):
        try:
            run()
            run()
        except torch.OutOfMemoryError:
            if name == baseline:
                raise
            print(f"{description}: {name:32s} left out: not enough memory")
            del tasks[name]
            torch.cuda.empty_cache()
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in track(range(runs), description=description, transient=True):
        for name, run in tasks.items():
            times[name].append(_timed(run))
    medians = {name: statistics.median(some) for name, some in times.items()}
    found = {
        name: {"s": float(f"{one:.4g}"), "speedup": round(medians[baseline] / one, 2)} for name, one in medians.items()
    }
    for name, one in found.items():
        print(f"{description}: {name:32s} {one['s']:9.5f} s  {one['speedup']:5.2f}x {baseline}")
    return found


def _timed(run: Task) -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start
