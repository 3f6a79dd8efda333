"""Changes to the events of a window, before they become frames.

Each is a frozen dataclass, called with events, boxes, the window (start, end) in microseconds and the sensor's height
and width. Each gives new events and boxes, leaves its input untouched, and draws only from torch's global generator.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from emsyolo.dataset.augment import clipped, uniform
from emsyolo.dataset.event.events import Events
from emsyolo.types import Targets

Window = tuple[int, int]
Size = tuple[int, int]


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

    p: float = 0.5

    def __post_init__(self) -> None:
        _check_share("p", self.p)

    def __call__(self, events: Events, targets: Targets, window_us: Window, sensor_hw: Size) -> tuple[Events, Targets]:
        """The window or its mirror image."""
        if uniform(0, 1) >= self.p:
            return events, targets
        width = sensor_hw[1]
        boxes = targets.boxes_xyxy[:, [2, 1, 0, 3]] * targets.boxes_xyxy.new_tensor([-1, 1, -1, 1])
        boxes = boxes + boxes.new_tensor([width, 0, width, 0])
        mirrored = Events(events.t, (width - 1 - events.x).astype(np.uint16), events.y, events.p)
        return mirrored, replace(targets, boxes_xyxy=boxes)


@dataclass(frozen=True)
class SwapPolarity:
    """Exchanges on and off, as if bright were dark.

    Attributes:
        p: how often.
    """

    p: float = 0.5

    def __post_init__(self) -> None:
        _check_share("p", self.p)

    def __call__(self, events: Events, targets: Targets, window_us: Window, sensor_hw: Size) -> tuple[Events, Targets]:
        """The window, or its opposite."""
        if uniform(0, 1) >= self.p:
            return events, targets
        return Events(events.t, events.x, events.y, (1 - events.p).astype(np.uint8)), targets


@dataclass(frozen=True)
class ShiftTime:
    """Shifts the events in time; those that leave the window are lost.

    Attributes:
        max_us: the shift is uniform in this many microseconds to either side.
    """

    max_us: int = 10_000

    def __post_init__(self) -> None:
        if self.max_us < 0:
            raise ValueError(f"max_us={self.max_us}: expected microseconds, at least 0")

    def __call__(self, events: Events, targets: Targets, window_us: Window, sensor_hw: Size) -> tuple[Events, Targets]:
        """The window, shifted."""
        t = events.t + int(uniform(-self.max_us, self.max_us))
        inside = (t >= window_us[0]) & (t < window_us[1])
        return Events(t, events.x, events.y, events.p).select(inside), targets


@dataclass(frozen=True)
class Zoom:
    """Zooms about the centre and shifts, by coordinates; boxes that leave the sensor are clipped or dropped.

    Attributes:
        scale: the factor is uniform in 1 - scale to 1 + scale; below 1.
        translate: the shift is uniform in this share of the width and of the height, to either side.
    """

    scale: float = 0.2
    translate: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.scale < 1:
            raise ValueError(f"scale={self.scale}: expected a share in [0, 1)")
        _check_share("translate", self.translate)

    def __call__(self, events: Events, targets: Targets, window_us: Window, sensor_hw: Size) -> tuple[Events, Targets]:
        """The window, zoomed and shifted."""
        height, width = sensor_hw
        factor = uniform(1 - self.scale, 1 + self.scale)
        shift_x, shift_y = (
            uniform(-1, 1) * self.translate * side + (1 - factor) / 2 * side for side in (width, height)
        )
        # A pixel is a square: its centre moves, and the pixel that the centre then lies in takes the event.
        x = np.floor((events.x + 0.5) * factor + shift_x).astype(np.int32)
        y = np.floor((events.y + 0.5) * factor + shift_y).astype(np.int32)
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        moved = Events(events.t, x.astype(np.uint16), y.astype(np.uint16), events.p).select(inside)
        boxes = targets.boxes_xyxy * factor + targets.boxes_xyxy.new_tensor([shift_x, shift_y] * 2)
        return moved, clipped(replace(targets, boxes_xyxy=boxes), sensor_hw)


@dataclass(frozen=True)
class DropEvents:
    """Drops a random share of the events. EventDrop (Gu et al., IJCAI 2021), "random drop".

    Attributes:
        max_share: the share is uniform in 0 to this.
    """

    max_share: float = 0.3

    def __post_init__(self) -> None:
        _check_share("max_share", self.max_share)

    def __call__(self, events: Events, targets: Targets, window_us: Window, sensor_hw: Size) -> tuple[Events, Targets]:
        """The window, thinned."""
        share = uniform(0, self.max_share)
        return events.select(_random(len(events)) >= share), targets


@dataclass(frozen=True)
class DropTime:
    """Drops all events in a random part of the window. EventDrop (Gu et al., IJCAI 2021), "drop by time".

    Attributes:
        p: how often.
        max_share: of the window; the part is uniform in 0 to this.
    """

    p: float = 0.5
    max_share: float = 0.2

    def __post_init__(self) -> None:
        _check_share("p", self.p)
        _check_share("max_share", self.max_share)

    def __call__(self, events: Events, targets: Targets, window_us: Window, sensor_hw: Size) -> tuple[Events, Targets]:
        """The window with a gap, or as it was."""
        if uniform(0, 1) >= self.p:
            return events, targets
        start, end = window_us
        length = uniform(0, self.max_share) * (end - start)
        begin = start + uniform(0, 1) * (end - start - length)
        return events.select((events.t < begin) | (events.t >= begin + length)), targets


@dataclass(frozen=True)
class Noise:
    """Adds events at random places and times, as background activity does.

    Attributes:
        rate_hz: events per pixel and second; uniform in 0 to this.
    """

    rate_hz: float = 0.5

    def __post_init__(self) -> None:
        if not self.rate_hz >= 0:
            raise ValueError(f"rate_hz={self.rate_hz}: expected events per pixel and second, at least 0")

    def __call__(self, events: Events, targets: Targets, window_us: Window, sensor_hw: Size) -> tuple[Events, Targets]:
        """The window with noise."""
        (height, width), (start, end) = sensor_hw, window_us
        expected = uniform(0, self.rate_hz) * height * width * (end - start) * 1e-6
        count = int(torch.poisson(torch.tensor(expected)))
        t = np.concatenate([events.t, start + (_random(count) * (end - start)).astype(np.int64)])
        x = np.concatenate([events.x, torch.randint(width, (count,)).numpy().astype(np.uint16)])
        y = np.concatenate([events.y, torch.randint(height, (count,)).numpy().astype(np.uint16)])
        p = np.concatenate([events.p, torch.randint(2, (count,)).numpy().astype(np.uint8)])
        return Events(t, x, y, p).select(np.argsort(t, kind="stable")), targets
