"""A simulated event camera."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from emsyolo.dataset.event.events import Events

DARKEST = 1e-3  # luminance below is taken for it, so that there is a logarithm
MAX_PER_PIXEL = 64  # crossings of one pixel between two frames; more would mean that the frames are too far apart


@dataclass(frozen=True)
class EventCamera:
    """What a pixel does: it fires when the logarithm of its luminance has moved by its threshold since it last fired.

    Between two frames the logarithm is taken as linear in time, and each crossing of a threshold gets the time at which
    the line crosses it (ESIM, Rebecq et al., CoRL 2018). A pixel that fired less than the refractory time ago stays
    silent, but takes the new level. Thresholds differ between pixels, and for on and off, by a fixed Gaussian mismatch;
    background activity is a Poisson process of equal rate in every pixel, half of it on (v2e, Hu et al., CVPRW 2021).
    Left out: the low-pass filter of a dim pixel, leakage, latency, and the arbitration of the read-out.

    Attributes:
        threshold: in the natural logarithm of luminance, > 0; 0.2 is about 22 % brighter.
        threshold_sigma: standard deviation over pixels, in the same unit; no threshold falls below a tenth of the mean.
        refractory_us: microseconds.
        noise_hz: events of background activity per pixel and second.
    """

    threshold: float = 0.2
    threshold_sigma: float = 0.02
    refractory_us: int = 500
    noise_hz: float = 0.2

    def record(self, frames: Iterable[tuple[int, NDArray[np.float64]]], rng: np.random.Generator) -> Events:
        """The events of a film.

        Args:
            frames: time in microseconds and luminance `[H, W]` in (0, 1], in the order of time; at least one.
            rng: is advanced; equal generators and frames give equal events.

        Raises:
            ValueError: no frame, or one that is not later than the one before.
        """
        film = iter(frames)
        first = next(film, None)
        if first is None:
            raise ValueError("no frame; expected at least one")
        before_us, luminance = first
        before = np.log(np.maximum(luminance, DARKEST))
        level = before.copy()
        shape = before.shape
        spread = rng.normal(self.threshold, self.threshold_sigma, (2, *shape))
        thresholds = np.maximum(spread, self.threshold / 10)
        fired_us = np.full(shape, -np.inf)
        parts = [_no_rows()]
        for now_us, luminance in film:
            if now_us <= before_us:
                raise ValueError(f"a frame at {now_us} us after one at {before_us} us; expected ascending times")
            now = np.log(np.maximum(luminance, DARKEST))
            rows = _cross(before, now, level, thresholds, fired_us, before_us, now_us, self.refractory_us)
            rows = np.concatenate([rows, self._noise(rng, shape, before_us, now_us)])
            parts.append(rows[np.argsort(rows[:, 0], kind="stable")])
            before, before_us = now, now_us
        table = np.concatenate(parts)
        x, y = table[:, 1].astype(np.uint16), table[:, 2].astype(np.uint16)
        return Events(table[:, 0].copy(), x, y, table[:, 3].astype(np.uint8))

    def _noise(self, rng: np.random.Generator, shape: tuple[int, ...], start: int, end: int) -> NDArray[np.int64]:
        height, width = shape
        count = rng.poisson(self.noise_hz * height * width * (end - start) * 1e-6)
        columns = [rng.integers(low, high, count) for low, high in ((start, end), (0, width), (0, height), (0, 2))]
        return np.stack(columns, axis=1)


def _no_rows() -> NDArray[np.int64]:
    return np.empty((0, 4), dtype=np.int64)


@numba.njit(cache=True)
def _cross(
    before: NDArray[np.float64],
    now: NDArray[np.float64],
    level: NDArray[np.float64],
    thresholds: NDArray[np.float64],
    fired_us: NDArray[np.float64],
    start_us: int,
    end_us: int,
    refractory_us: int,
) -> NDArray[np.int64]:
    """Events t, x, y, p of the pixels between two frames; `level` and `fired_us` are moved on.

    The time of a crossing lies in [start, end); `thresholds` are those for off and on.
    """
    height, width = before.shape
    count = 0
    for i in range(height):
        for j in range(width):
            count += min(int(abs(now[i, j] - level[i, j]) / thresholds[:, i, j].min()) + 1, MAX_PER_PIXEL)
    rows = np.empty((count, 4), dtype=np.int64)
    found = 0
    for i in range(height):
        for j in range(width):
            for _ in range(MAX_PER_PIXEL):
                gap = now[i, j] - level[i, j]
                sign = 1 if gap > 0 else 0
                threshold = thresholds[sign, i, j]
                if abs(gap) < threshold:
                    break
                level[i, j] += threshold if sign else -threshold
                change = now[i, j] - before[i, j]
                share = (level[i, j] - before[i, j]) / change if change != 0 else 0.0
                time = start_us + min(max(share, 0.0), 1.0) * (end_us - start_us - 1)
                if time - fired_us[i, j] >= refractory_us:
                    fired_us[i, j] = time
                    rows[found, 0], rows[found, 1], rows[found, 2], rows[found, 3] = int(time), j, i, sign
                    found += 1
    return rows[:found]
