"""Handwritten digits that move, and in some recordings stop, before a simulated event camera."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from emsyolo.dataset.digits import SCENES, scans
from emsyolo.dataset.event.boxes import EventBoxes
from emsyolo.dataset.event.camera import EventCamera
from emsyolo.dataset.event.events import Events
from emsyolo.dataset.event.stops import Stops
from emsyolo.dataset.scene import MAX_COVERED, covered, distractors, enlarge, ink, ink_box

Floats = NDArray[np.float64]

SENSOR_HW = (96, 128)
VERSION = 1  # of the recordings; a change of the generator is a new version, for figures must compare
DIGITS = (1, 4)
SIDE_PX = (28, 48)  # of the square to which the 8x8 scan is enlarged, both included
SPEED_PX_S = (40.0, 110.0)
PAN_PX_S = 8.0  # of the background, at most
CONTRAST = 0.3  # least difference in luminance between a digit and the mean of the background
FRAME_US = 5_000  # between two frames: at most 0.6 px of motion
LABELS_US = tuple(range(500_000, 2_000_001, 250_000))
TRIES = 50

STOPS_VERSION = 1  # of the recordings with stops
STOPS_LABELS_US = tuple(range(500_000, 4_000_001, 250_000))
FIRST_STOP_S = (0.3, 1.5)  # after the beginning
STOP_S = (0.5, 1.5)
BETWEEN_STOPS_S = (0.5, 1.5)


@dataclass(frozen=True)
class Take:
    """A recording with its boxes.

    Attributes:
        events: in the order of time.
        boxes: px of the sensor, in the order of time.
        stops: when the objects stood still; None: not known.
    """

    events: Events
    boxes: EventBoxes
    stops: Stops | None = None


@dataclass(frozen=True)
class Mover:
    """A digit that moves at constant speed, bounces at the sensor's border, and may stop on its way.

    Attributes:
        opacity: `[side, side]` in [0, 1].
        luminance: of the ink.
        digit: 0 to 9.
        start_xy: top left corner of the square at time 0, px.
        speed_xy: px per second, while it moves.
        stops: start and end of each stop, microseconds, in the order of time.
    """

    opacity: Floats
    luminance: float
    digit: int
    start_xy: Floats
    speed_xy: Floats
    stops: tuple[tuple[int, int], ...] = ()

    def place(self, t_us: int, sensor_hw: tuple[int, int]) -> Floats:
        """Top left corner (x, y) of the square, px."""
        room = np.array([sensor_hw[1], sensor_hw[0]]) - len(self.opacity)
        moved_us = t_us - sum(min(t_us, end) - start for start, end in self.stops if start < t_us)
        way = np.mod(self.start_xy + self.speed_xy * (moved_us * 1e-6), 2 * room)
        return np.minimum(way, 2 * room - way)

    def box(self, t_us: int, sensor_hw: tuple[int, int]) -> Floats:
        """The box xyxy around the ink, px."""
        return ink_box(self.opacity) + np.tile(self.place(t_us, sensor_hw), 2)


def moving_digits(
    index: int,
    split: str,
    *,
    seed: int = 0,
    camera: EventCamera | None = None,
    sensor_hw: tuple[int, int] = SENSOR_HW,
) -> Take:
    """One recording of two seconds, which depends only on these arguments.

    1 to 4 digits, each an enlarged scan of 28 to 48 px in one luminance, move straight at 40 to 110 px/s and bounce at
    the border, before a smooth background with strokes and blobs that pans slowly. Where digits meet, the later hides
    the earlier; no box covers more than 30 % of another at a labelled time. Boxes are tight around the ink, every
    250 ms from 0.5 s on.

    Args:
        index: number of the recording.
        split: `train` or `test`; no scan is in both.
        seed: of everything.
        camera: None is `EventCamera()`.
        sensor_hw: height and width, px.
    """
    rng = np.random.default_rng([VERSION, seed, list(SCENES).index(split), index])
    wide = _background(rng, sensor_hw)
    movers = _movers(rng, split, seed, float(wide.mean()), sensor_hw, LABELS_US)
    pan = rng.uniform(-PAN_PX_S, PAN_PX_S, 2)
    events = (camera or EventCamera()).record(_film(wide, pan, movers, sensor_hw, LABELS_US[-1]), rng)
    return Take(events, _boxes(movers, sensor_hw, LABELS_US))


def stopping_digits(
    index: int,
    split: str,
    *,
    seed: int = 0,
    camera: EventCamera | None = None,
    sensor_hw: tuple[int, int] = SENSOR_HW,
) -> Take:
    """One recording of four seconds in which each digit stops at least once, and depends only on these arguments.

    As `moving_digits`, but after 0.3 to 1.5 s a digit stands still for 0.5 to 1.5 s, moves on for as long, stops again,
    and so on. The background does not pan, so that a digit that stands makes no event but the camera's noise; it is
    labelled all the same. Boxes from 0.5 to 4 s.

    Args:
        index, split, seed, camera, sensor_hw: as for `moving_digits`.
    """
    rng = np.random.default_rng([STOPS_VERSION, seed, list(SCENES).index(split), index, len(STOPS_LABELS_US)])
    wide = _background(rng, sensor_hw)
    movers = _movers(rng, split, seed, float(wide.mean()), sensor_hw, STOPS_LABELS_US, stop=True)
    film = _film(wide, np.zeros(2), movers, sensor_hw, STOPS_LABELS_US[-1])
    events = (camera or EventCamera()).record(film, rng)
    stops = np.array([(track, *stop) for track, mover in enumerate(movers) for stop in mover.stops], dtype=np.int64)
    return Take(events, _boxes(movers, sensor_hw, STOPS_LABELS_US), Stops(*stops.T))


def _boxes(movers: Sequence[Mover], sensor_hw: tuple[int, int], labels_us: Sequence[int]) -> EventBoxes:
    """The boxes of all digits at the labelled times."""
    rows = [
        (t_us, mover.box(t_us, sensor_hw), mover.digit, track)
        for t_us in labels_us
        for track, mover in enumerate(movers)
    ]
    t_us, boxes, digits, tracks = zip(*rows, strict=True)
    return EventBoxes(np.array(t_us), np.array(boxes), np.array(digits), np.array(tracks), np.ones(len(rows)))


def _background(rng: np.random.Generator, sensor_hw: tuple[int, int]) -> Floats:
    """Luminance of a scene somewhat larger than the sensor, in (0, 1]."""
    margin = int(np.ceil(PAN_PX_S * LABELS_US[-1] * 1e-6)) + 1
    size_hw = (sensor_hw[0] + 2 * margin, sensor_hw[1] + 2 * margin)
    coarse = rng.uniform(0.2, 0.8) + rng.uniform(-0.1, 0.1, (4, 5))
    smooth = np.repeat(enlarge(coarse, size_hw)[..., None], 3, axis=-1)
    return np.clip(distractors(rng, smooth).mean(axis=-1), 0.05, 1.0)


def _movers(
    rng: np.random.Generator,
    split: str,
    seed: int,
    ground: float,
    sensor_hw: tuple[int, int],
    labels_us: Sequence[int],
    *,
    stop: bool = False,
) -> list[Mover]:
    """Digits that stand out from the ground and keep clear of each other at the labelled times; at least one."""
    images, digits = scans(split, seed)
    movers: list[Mover] = []
    wanted = int(rng.integers(DIGITS[0], DIGITS[1] + 1))
    for _ in range(TRIES):
        chosen = int(rng.integers(len(images)))
        side = int(rng.integers(SIDE_PX[0], SIDE_PX[1] + 1))
        room = np.array([sensor_hw[1], sensor_hw[0]]) - side
        angle, speed = rng.uniform(0, 2 * np.pi), rng.uniform(*SPEED_PX_S)
        darker = rng.uniform(0.03, max(0.04, ground - CONTRAST))
        brighter = rng.uniform(min(0.96, ground + CONTRAST), 1.0)
        below = rng.random() < (0.5 if 0.35 < ground < 0.65 else float(ground >= 0.65))
        mover = Mover(
            ink(images[chosen], side),
            darker if below else brighter,
            int(digits[chosen]),
            rng.uniform(0, room),
            speed * np.array([np.cos(angle), np.sin(angle)]),
            _stops(rng, labels_us[-1]) if stop else (),
        )
        if all(
            covered(mover.box(t_us, sensor_hw), other.box(t_us, sensor_hw)) <= MAX_COVERED
            for other in movers
            for t_us in labels_us
        ):
            movers.append(mover)
        if len(movers) == wanted:
            break
    return movers


def _stops(rng: np.random.Generator, end_us: int) -> tuple[tuple[int, int], ...]:
    """Starts and ends of a digit's stops, times of frames, so that the last event before a stop is before it."""
    found = []
    start = _frame_time(rng, FIRST_STOP_S)
    while start < end_us:
        end = start + _frame_time(rng, STOP_S)
        found.append((start, end))
        start = end + _frame_time(rng, BETWEEN_STOPS_S)
    return tuple(found)


def _frame_time(rng: np.random.Generator, between_s: tuple[float, float]) -> int:
    return round(rng.uniform(*between_s) * 1e6 / FRAME_US) * FRAME_US


def _film(
    wide: Floats, pan: Floats, movers: list[Mover], sensor_hw: tuple[int, int], end_us: int
) -> Iterator[tuple[int, Floats]]:
    """The frames: time in microseconds, luminance `[H, W]`."""
    margin = (np.array(wide.shape) - sensor_hw) // 2
    for t_us in range(0, end_us + FRAME_US, FRAME_US):
        top, left = margin + pan * (t_us * 1e-6)
        canvas = _shifted(wide, float(top), float(left), sensor_hw[0], sensor_hw[1])
        for mover in movers:
            x, y = mover.place(t_us, sensor_hw)
            _paint(canvas, mover.opacity, mover.luminance, float(x), float(y))
        yield t_us, canvas


@numba.njit(cache=True)
def _between(values: Floats, row: float, column: float) -> float:
    """Bilinear interpolation; 0 outside."""
    height, width = values.shape
    i, j = int(np.floor(row)), int(np.floor(column))
    down, right = row - i, column - j
    total = 0.0
    for a in range(2):
        for b in range(2):
            if 0 <= i + a < height and 0 <= j + b < width:
                total += (down if a else 1 - down) * (right if b else 1 - right) * values[i + a, j + b]
    return total


@numba.njit(cache=True)
def _shifted(wide: Floats, top: float, left: float, height: int, width: int) -> Floats:
    """The part of a picture that begins between its pixels."""
    out = np.empty((height, width))
    for i in range(height):
        for j in range(width):
            out[i, j] = _between(wide, i + top, j + left)
    return out


@numba.njit(cache=True)
def _paint(canvas: Floats, opacity: Floats, luminance: float, x: float, y: float) -> None:
    """Ink over the canvas, in place, its square's corner between the pixels."""
    height, width = canvas.shape
    side = len(opacity)
    for i in range(max(0, int(np.floor(y))), min(height, int(np.ceil(y)) + side + 1)):
        for j in range(max(0, int(np.floor(x))), min(width, int(np.ceil(x)) + side + 1)):
            covering = _between(opacity, i - y, j - x)
            canvas[i, j] += covering * (luminance - canvas[i, j])
