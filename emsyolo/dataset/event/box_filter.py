"""Which boxes of an event-camera data set count: the filters that published figures differ by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class BoxFilter:
    """Drops boxes that come early or are small, from the truth and from the detections alike.

    Lengths are in px of the sensor, whatever size the frames have: limits that are published for frames of half the
    size are doubled. Boxes are cropped to the sensor before they are measured (in
    RVT to W - 1 and H - 1).

    Published evaluations have, on Gen1, `skip_us=500_000, min_diagonal_px=30, min_side_px=10`, and on 1 Mpx 60 and 20
    (RVT, Gehrig and Scaramuzza, CVPR 2023; 30 and 10 in its frames of half the size). The README of Prophesee's toolbox
    says the same of 1 Mpx, but its evaluator skips 0.1 s and has sides of 20 on Gen1 and 10 on 1 Mpx, which RVT takes
    for a slip and corrects. Differs: boxes at exactly `skip_us` count here; there they do not.

    Attributes:
        skip_us: boxes before this time of the recording are dropped.
        min_diagonal_px: boxes with a shorter diagonal are dropped, px of the sensor.
        min_side_px: boxes with a shorter side are dropped, px of the sensor.
        max_width_share: boxes that take more of the sensor's width are dropped; only where boxes are trained on. RVT
            has 0.9: labels of objects that pass close by span the frame.

    Raises:
        ValueError: a share outside (0, 1].
    """

    skip_us: int = 0
    min_diagonal_px: float = 0.0
    min_side_px: float = 0.0
    max_width_share: float | None = None

    def __post_init__(self) -> None:
        if self.max_width_share is not None and not 0 < self.max_width_share <= 1:
            raise ValueError(f"max_width_share={self.max_width_share}: expected a share in (0, 1], or null")

    def in_time(self, t_us: int | None) -> bool:
        """Whether boxes of that time of the recording count; those of a still image (None) do."""
        return t_us is None or t_us >= self.skip_us

    def keep(self, sides_wh: NDArray[np.float64], sensor_width: int | None = None) -> NDArray[np.bool_]:
        """Which boxes are large enough, `[M]`.

        Args:
            sides_wh: width and height `[M, 2]`, px of the sensor.
            sensor_width: px; needed by `max_width_share`.

        Raises:
            ValueError: `max_width_share` without a width, as in an evaluation.
        """
        fits = np.hypot(sides_wh[:, 0], sides_wh[:, 1]) >= self.min_diagonal_px
        fits &= (sides_wh >= self.min_side_px).all(axis=1)
        if self.max_width_share is None:
            return fits
        if sensor_width is None:
            raise ValueError(
                f"max_width_share={self.max_width_share}: a filter of the boxes to train on; expected null where boxes "
                "are counted"
            )
        return fits & (sides_wh[:, 0] <= self.max_width_share * sensor_width)
