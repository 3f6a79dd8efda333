"""Events of a window as frames: each representation is one pass over the events, and a setting over it.

The step of an event is `(t - start) * steps // (end - start)`: equal parts of the window, in whole numbers. Events
outside the window or the frame are not shown.

A network divides frames of bytes by 255, so that each setting says what its bytes mean. `empty` is the value where
nothing happened.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emsyolo.dataset.event.events import Events

GREY = 127
BYTE = 255


def counts(
    events: Events, start_us: int, end_us: int, steps: int, size_hw: tuple[int, int], micro_bins: int = 1
) -> NDArray[np.uint16]:
    """Number of events by polarity, `[T, 2 * micro_bins, H, W]`: per micro-bin of a step off, then on.

    Args:
        events: in any order.
        start_us: begin of the window, included.
        end_us: end of the window, excluded.
        steps: T.
        size_hw: height and width of the frames.
        micro_bins: equal parts of a step.

    Raises:
        ValueError: a window without time, or less than one step or micro-bin.
    """
    _check(start_us, end_us, steps, micro_bins)
    out = np.zeros((steps * micro_bins, 2, *size_hw), dtype=np.uint16)
    _count(events.t, events.x, events.y, events.p, start_us, end_us, out, 1, 65535)
    return out.reshape(steps, 2 * micro_bins, *size_hw)


def binary(
    events: Events, start_us: int, end_us: int, steps: int, size_hw: tuple[int, int], micro_bins: int = 1
) -> NDArray[np.bool_]:
    """Whether there was any event, by polarity; see `counts` for arguments and axes."""
    return counts(events, start_us, end_us, steps, size_hw, micro_bins) > 0


def signed(events: Events, start_us: int, end_us: int, steps: int, size_hw: tuple[int, int]) -> NDArray[np.int32]:
    """On minus off events, `[T, 1, H, W]`; see `counts` for the arguments."""
    both = counts(events, start_us, end_us, steps, size_hw).astype(np.int32)
    return both[:, 1:] - both[:, :1]


def voxel_grid(events: Events, start_us: int, end_us: int, steps: int, size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """Polarities (-1 and 1) spread over the two nearest steps in time, `[T, 1, H, W]`; see `counts` for the arguments.

    Step b is centred at `b / (T - 1)` of the window. Zhu et al., CVPR 2019, Eq. (1). Differs: there the first and the
    last event bound the window.
    """
    _check(start_us, end_us, steps, 1)
    out = np.zeros((steps, 1, *size_hw), dtype=np.float32)
    _spread(events.t, events.x, events.y, events.p, start_us, end_us, out)
    return out


def last_polarity(
    events: Events, start_us: int, end_us: int, steps: int, size_hw: tuple[int, int]
) -> NDArray[np.uint8]:
    """Grey frames `[T, H, W]` on which the last event of a pixel wins: 127 none, 255 on, 0 off.

    See `counts` for the arguments; events in the order of time. The published code of EMS-YOLO (Su et al., ICCV 2023).
    """
    _check(start_us, end_us, steps, 1)
    out = np.full((steps, *size_hw), GREY, dtype=np.uint8)
    _overwrite(events.t, events.x, events.y, events.p, start_us, end_us, out)
    return out


def scaled(events: Events, from_hw: tuple[int, int], to_hw: tuple[int, int]) -> Events:
    """The events on a sensor of another size: `floor(x * W' / W)`, and y alike."""
    x = (events.x.astype(np.uint32) * to_hw[1] // from_hw[1]).astype(np.uint16)
    y = (events.y.astype(np.uint32) * to_hw[0] // from_hw[0]).astype(np.uint16)
    return Events(events.t, x, y, events.p)


def _check(start_us: int, end_us: int, steps: int, micro_bins: int) -> None:
    if steps < 1 or micro_bins < 1 or end_us <= start_us:
        raise ValueError(
            f"window from {start_us} to {end_us} us, {steps} steps, {micro_bins} micro-bins; expected some time and at "
            "least one of each"
        )


@numba.njit(cache=True, nogil=True)
def _count(
    t: NDArray[np.int64],
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    p: NDArray[np.uint8],
    start: int,
    end: int,
    out: NDArray[Any],
    unit: int,
    most: int,
) -> None:
    """Adds `unit` for every event, up to `most`."""
    bins, _, height, width = out.shape
    length = end - start
    step, low, high = 0, 0, 0
    for i in range(len(t)):
        since = t[i] - start
        if 0 <= since < length and x[i] < width and y[i] < height:
            if not low <= since < high:  # a division for each step, not for each event
                step = since * bins // length
                low, high = -(-step * length // bins), -(-(step + 1) * length // bins)
            sign = 1 if p[i] else 0
            if out[step, sign, y[i], x[i]] < most:
                out[step, sign, y[i], x[i]] += unit


@numba.njit(cache=True, nogil=True)
def _spread(
    t: NDArray[np.int64],
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    p: NDArray[np.uint8],
    start: int,
    end: int,
    out: NDArray[np.float32],
) -> None:
    bins, _, height, width = out.shape
    length = end - start
    for i in range(len(t)):
        since = t[i] - start
        if 0 <= since < length and x[i] < width and y[i] < height:
            place = since * (bins - 1) / length
            step = int(place)
            part, sign = place - step, 1.0 if p[i] else -1.0
            out[step, 0, y[i], x[i]] += np.float32(sign * (1 - part))
            if step + 1 < bins:
                out[step + 1, 0, y[i], x[i]] += np.float32(sign * part)


@numba.njit(cache=True, nogil=True)
def _overwrite(
    t: NDArray[np.int64],
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    p: NDArray[np.uint8],
    start: int,
    end: int,
    out: NDArray[np.uint8],
) -> None:
    bins, height, width = out.shape
    length = end - start
    for i in range(len(t)):
        since = t[i] - start
        if 0 <= since < length and x[i] < width and y[i] < height:
            out[since * bins // length, y[i], x[i]] = 255 if p[i] else 0


@dataclass(frozen=True)
class Counts:
    """`counts`, cut at `cutoff`; a byte is the count times `255 // cutoff`.

    Attributes:
        micro_bins: parts of a step, each with two channels.
        cutoff: the largest count that is told apart, 1 to 255.
    """

    micro_bins: int = 1
    cutoff: int = 10
    empty = 0

    def __post_init__(self) -> None:
        if not 1 <= self.cutoff <= BYTE:
            raise ValueError(f"dataset.representation.cutoff={self.cutoff}: expected 1 to {BYTE}")

    @property
    def channels(self) -> int:
        """C."""
        return 2 * self.micro_bins

    def __call__(self, events: Events, start_us: int, end_us: int, steps: int, size_hw: tuple[int, int]) -> Tensor:
        """Frames `[T, 2 * micro_bins, H, W]` uint8."""
        _check(start_us, end_us, steps, self.micro_bins)
        out = np.zeros((steps * self.micro_bins, 2, *size_hw), dtype=np.uint8)
        unit = BYTE // self.cutoff
        _count(events.t, events.x, events.y, events.p, start_us, end_us, out, unit, unit * self.cutoff)
        return torch.from_numpy(out.reshape(steps, 2 * self.micro_bins, *size_hw))


@dataclass(frozen=True)
class Binary:
    """`binary`; a byte is 0 or 255.

    Attributes:
        micro_bins: parts of a step, each with two channels.
    """

    micro_bins: int = 1
    empty = 0

    @property
    def channels(self) -> int:
        """C."""
        return 2 * self.micro_bins

    def __call__(self, events: Events, start_us: int, end_us: int, steps: int, size_hw: tuple[int, int]) -> Tensor:
        """Frames `[T, 2 * micro_bins, H, W]` uint8."""
        found = binary(events, start_us, end_us, steps, size_hw, self.micro_bins)
        return torch.from_numpy(found.astype(np.uint8) * np.uint8(BYTE))


@dataclass(frozen=True)
class Signed:
    """`signed`, cut at `-cutoff` and `cutoff`; a byte is 127 plus the difference times `127 // cutoff`.

    Attributes:
        cutoff: the largest difference that is told apart, 1 to 127.
    """

    cutoff: int = 10
    channels = 1
    empty = GREY

    def __post_init__(self) -> None:
        if not 1 <= self.cutoff <= GREY:
            raise ValueError(f"dataset.representation.cutoff={self.cutoff}: expected 1 to {GREY}")

    def __call__(self, events: Events, start_us: int, end_us: int, steps: int, size_hw: tuple[int, int]) -> Tensor:
        """Frames `[T, 1, H, W]` uint8."""
        found = np.clip(signed(events, start_us, end_us, steps, size_hw), -self.cutoff, self.cutoff)
        return torch.from_numpy((GREY + found * (GREY // self.cutoff)).astype(np.uint8))


@dataclass(frozen=True)
class VoxelGrid:
    """`voxel_grid`, cut at `-cutoff` and `cutoff`; a byte is 127 plus the value times `127 / cutoff`, rounded.

    Attributes:
        cutoff: the largest value that is told apart, > 0.
    """

    cutoff: float = 5.0
    channels = 1
    empty = GREY

    def __post_init__(self) -> None:
        if not self.cutoff > 0:
            raise ValueError(f"dataset.representation.cutoff={self.cutoff}: expected a number > 0")

    def __call__(self, events: Events, start_us: int, end_us: int, steps: int, size_hw: tuple[int, int]) -> Tensor:
        """Frames `[T, 1, H, W]` uint8."""
        found = np.clip(voxel_grid(events, start_us, end_us, steps, size_hw), -self.cutoff, self.cutoff)
        return torch.from_numpy(np.rint(GREY + found * (GREY / self.cutoff)).astype(np.uint8))


@dataclass(frozen=True)
class LastPolarity:
    """`last_polarity` on three equal channels."""

    channels = 3
    empty = GREY

    def __call__(self, events: Events, start_us: int, end_us: int, steps: int, size_hw: tuple[int, int]) -> Tensor:
        """Frames `[T, 3, H, W]` uint8."""
        found = torch.from_numpy(last_polarity(events, start_us, end_us, steps, size_hw))
        return found[:, None].expand(-1, 3, -1, -1).contiguous()
