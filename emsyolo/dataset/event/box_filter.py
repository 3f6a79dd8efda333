"""Which boxes of an event-camera data set count: the filters that published figures differ by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class BoxFilter:
    """Drops boxes that come early or are small, from the truth and from the detections alike.

    The Prophesee data sets' own toolbox has `skip_us=500_000, min_diagonal_px=30, min_side_px=10` (Gen1).

    Attributes:
        skip_us: boxes before this time of the recording are dropped.
        min_diagonal_px: boxes with a shorter diagonal are dropped, px of the sensor.
        min_side_px: boxes with a shorter side are dropped, px of the sensor.
    """

    skip_us: int = 0
    min_diagonal_px: float = 0.0
    min_side_px: float = 0.0

    def in_time(self, t_us: int | None) -> bool:
        """Whether boxes of that time of the recording count; those of a still image (None) do."""
        return t_us is None or t_us >= self.skip_us

    def keep(self, sides_wh: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which boxes are large enough, `[M]`, by width and height `[M, 2]`, px of the sensor."""
        large = np.hypot(sides_wh[:, 0], sides_wh[:, 1]) >= self.min_diagonal_px
        return large & (sides_wh >= self.min_side_px).all(axis=1)
