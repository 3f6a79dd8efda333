"""Random changes to events and their boxes, before events become frames.

Each is a frozen dataclass whose `draw` decides on a change. A change holds as long as the scene is the same: for one
window, or for a stream of them, in which mirrored events cannot be followed by others. What it does to single events
(which of them are dropped) is drawn when it is applied. All randomness is from torch's global generator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from emsyolo.dataset.augment import clipped, uniform
from emsyolo.dataset.event.events import Events
from emsyolo.types import Targets

Window = tuple[int, int]
Size = tuple[int, int]


@dataclass(frozen=True)
class Change:
    """What was decided: new events and boxes from old ones, which are left untouched.

    Attributes:
        events: from events, their window (start, end) in microseconds, and the sensor's height and width.
        boxes: from true boxes and the sensor's height and width.
    """

    events: Callable[[Events, Window, Size], Events] = lambda events, window_us, sensor_hw: events
    boxes: Callable[[Targets, Size], Targets] = lambda targets, sensor_hw: targets


class EventTransform(Protocol):
    """A random change to events and boxes.

    Attributes:
        of_streams: whether it may be applied to one part of a stream after the other.
    """

    of_streams: ClassVar[bool]

    def draw(self) -> Change:
        """Decide on one."""
        ...


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name}={value}: expected a share in [0, 1]")


def _random(count: int) -> NDArray[np.float32]:
    return torch.rand(count).numpy()


@dataclass(frozen=True)
class FlipLeftRight:
    """Mirrors left and right.

    Attributes:
        p: how often.
    """

    of_streams: ClassVar[bool] = True

    p: float = 0.5

    def __post_init__(self) -> None:
        _check_share("p", self.p)

    def draw(self) -> Change:
        """Nothing, or the mirror image."""
        return Change(_mirrored, _boxes_mirrored) if uniform(0, 1) < self.p else Change()


def _mirrored(events: Events, window_us: Window, sensor_hw: Size) -> Events:
    return Events(events.t, (sensor_hw[1] - 1 - events.x).astype(np.uint16), events.y, events.p)


def _boxes_mirrored(targets: Targets, sensor_hw: Size) -> Targets:
    width = sensor_hw[1]
    boxes = targets.boxes_xyxy[:, [2, 1, 0, 3]] * targets.boxes_xyxy.new_tensor([-1, 1, -1, 1])
    return replace(targets, boxes_xyxy=boxes + boxes.new_tensor([width, 0, width, 0]))


@dataclass(frozen=True)
class SwapPolarity:
    """Exchanges on and off, as if bright were dark.

    Attributes:
        p: how often.
    """

    of_streams: ClassVar[bool] = True

    p: float = 0.5

    def __post_init__(self) -> None:
        _check_share("p", self.p)

    def draw(self) -> Change:
        """Nothing, or the opposite."""
        return Change(_swapped) if uniform(0, 1) < self.p else Change()


def _swapped(events: Events, window_us: Window, sensor_hw: Size) -> Events:
    return Events(events.t, events.x, events.y, (1 - events.p).astype(np.uint8))


@dataclass(frozen=True)
class ShiftTime:
    """Shifts the events in time; those that leave the window are lost, so that it is not for streams.

    Attributes:
        max_us: the shift is uniform in this many microseconds to either side.
    """

    of_streams: ClassVar[bool] = False

    max_us: int = 10_000

    def __post_init__(self) -> None:
        if self.max_us < 0:
            raise ValueError(f"max_us={self.max_us}: expected microseconds, at least 0")

    def draw(self) -> Change:
        """A shift."""
        return Change(partial(_shifted, by_us=int(uniform(-self.max_us, self.max_us))))


def _shifted(events: Events, window_us: Window, sensor_hw: Size, by_us: int) -> Events:
    t = events.t + by_us
    inside = (t >= window_us[0]) & (t < window_us[1])
    return Events(t, events.x, events.y, events.p).select(inside)


@dataclass(frozen=True)
class Zoom:
    """Zooms about the centre and shifts, by coordinates; boxes that leave the sensor are clipped or dropped.

    Attributes:
        scale: the factor is uniform in 1 - scale to 1 + scale; below 1.
        translate: the shift is uniform in this share of the width and of the height, to either side.
    """

    of_streams: ClassVar[bool] = True

    scale: float = 0.2
    translate: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.scale < 1:
            raise ValueError(f"scale={self.scale}: expected a share in [0, 1)")
        _check_share("translate", self.translate)

    def draw(self) -> Change:
        """A factor and a shift."""
        zoomed = _Zoomed(
            uniform(1 - self.scale, 1 + self.scale), (uniform(-1, 1) * self.translate, uniform(-1, 1) * self.translate)
        )
        return Change(zoomed.events, zoomed.boxes)


@dataclass(frozen=True)
class _Zoomed:
    """A zoom by `factor` about the centre, and a shift, as shares of width and height."""

    factor: float
    shares: tuple[float, float]

    def _shift(self, sensor_hw: Size) -> tuple[float, float]:
        height, width = sensor_hw
        across, down = (
            share * side + (1 - self.factor) / 2 * side
            for share, side in zip(self.shares, (width, height), strict=True)
        )
        return across, down

    def events(self, events: Events, window_us: Window, sensor_hw: Size) -> Events:
        """A pixel is a square: its centre moves, and the pixel that the centre then lies in takes the event."""
        (height, width), (shift_x, shift_y) = sensor_hw, self._shift(sensor_hw)
        x = np.floor((events.x + 0.5) * self.factor + shift_x).astype(np.int32)
        y = np.floor((events.y + 0.5) * self.factor + shift_y).astype(np.int32)
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        return Events(events.t, x.astype(np.uint16), y.astype(np.uint16), events.p).select(inside)

    def boxes(self, targets: Targets, sensor_hw: Size) -> Targets:
        """Those of which enough is left, clipped."""
        boxes = targets.boxes_xyxy * self.factor + targets.boxes_xyxy.new_tensor(self._shift(sensor_hw) * 2)
        return clipped(replace(targets, boxes_xyxy=boxes), sensor_hw)


@dataclass(frozen=True)
class DropEvents:
    """Drops a random share of the events. EventDrop (Gu et al., IJCAI 2021), "random drop".

    Attributes:
        max_share: the share is uniform in 0 to this.
    """

    of_streams: ClassVar[bool] = True

    max_share: float = 0.3

    def __post_init__(self) -> None:
        _check_share("max_share", self.max_share)

    def draw(self) -> Change:
        """A share."""
        return Change(partial(_thinned, share=uniform(0, self.max_share)))


def _thinned(events: Events, window_us: Window, sensor_hw: Size, share: float) -> Events:
    return events.select(_random(len(events)) >= share)


@dataclass(frozen=True)
class DropTime:
    """Drops all events in a random part of the window. EventDrop (Gu et al., IJCAI 2021), "drop by time".

    Attributes:
        p: how often.
        max_share: of the window; the part is uniform in 0 to this.
    """

    of_streams: ClassVar[bool] = True

    p: float = 0.5
    max_share: float = 0.2

    def __post_init__(self) -> None:
        _check_share("p", self.p)
        _check_share("max_share", self.max_share)

    def draw(self) -> Change:
        """Nothing, or a gap of some share of the window, somewhere in it."""
        if uniform(0, 1) >= self.p:
            return Change()
        return Change(partial(_with_gap, share=uniform(0, self.max_share), place=uniform(0, 1)))


def _with_gap(events: Events, window_us: Window, sensor_hw: Size, share: float, place: float) -> Events:
    start, end = window_us
    length = share * (end - start)
    begin = start + place * (end - start - length)
    return events.select((events.t < begin) | (events.t >= begin + length))


@dataclass(frozen=True)
class Noise:
    """Adds events at random places and times, as background activity does.

    Attributes:
        rate_hz: events per pixel and second; uniform in 0 to this.
    """

    of_streams: ClassVar[bool] = True

    rate_hz: float = 0.5

    def __post_init__(self) -> None:
        if not self.rate_hz >= 0:
            raise ValueError(f"rate_hz={self.rate_hz}: expected events per pixel and second, at least 0")

    def draw(self) -> Change:
        """A rate."""
        return Change(partial(_noisy, rate_hz=uniform(0, self.rate_hz)))


def _noisy(events: Events, window_us: Window, sensor_hw: Size, rate_hz: float) -> Events:
    (height, width), (start, end) = sensor_hw, window_us
    count = int(torch.poisson(torch.tensor(rate_hz * height * width * (end - start) * 1e-6)))
    t = np.concatenate([events.t, start + (_random(count) * (end - start)).astype(np.int64)])
    x = np.concatenate([events.x, torch.randint(width, (count,)).numpy().astype(np.uint16)])
    y = np.concatenate([events.y, torch.randint(height, (count,)).numpy().astype(np.uint16)])
    p = np.concatenate([events.p, torch.randint(2, (count,)).numpy().astype(np.uint8)])
    return Events(t, x, y, p).select(np.argsort(t, kind="stable"))
