"""What the tests of events share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from emsyolo.dataset.event.events import Events

SENSOR_HW = (48, 64)


def make_events(count: int, seed: int = 0, span_us: int = 100_000, sensor_hw: tuple[int, int] = SENSOR_HW) -> Events:
    """Random events on a sensor, in the order of time, some at equal times."""
    rng = np.random.default_rng(seed)
    return Events(
        np.sort(rng.integers(0, span_us, count)),
        rng.integers(0, sensor_hw[1], count).astype(np.uint16),
        rng.integers(0, sensor_hw[0], count).astype(np.uint16),
        rng.integers(0, 2, count).astype(np.uint8),
    )


def shared_data() -> Path:
    """The folder of real data beside the project; the test is skipped where it is absent."""
    folder = Path(__file__).resolve().parents[3] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder}")
    return folder
