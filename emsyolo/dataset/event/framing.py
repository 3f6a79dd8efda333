"""From the events of a window to the frames that a network is shown: the one way, for data sets and for streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from emsyolo.dataset.event.events import Events
from emsyolo.dataset.event.representation import scaled


class Representation(Protocol):
    """Events of a window as frames."""

    @property
    def channels(self) -> int:
        """C."""
        ...

    def __call__(self, events: Events, start_us: int, end_us: int, steps: int, size_hw: tuple[int, int]) -> Tensor:
        """Frames `[T, C, H, W]` of the events from start (included) to end (excluded), in `steps` equal steps."""
        ...


@dataclass(frozen=True)
class Framing:
    """What a network was trained to see of a recording.

    Attributes:
        representation: events to frames.
        steps: frames of a window, T0; the network's T, or 1.
        window_us: length of a window, microseconds.
        frame_hw: height and width to which coordinates are scaled before framing; None: frames of the sensor's size.

    Raises:
        ValueError: no representation, a window shorter than 1 us per step, or a size below 1 px.
    """

    representation: Representation
    steps: int
    window_us: int
    frame_hw: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if self.steps < 1 or self.window_us < self.steps:
            raise ValueError(
                f"dataset.window_us={self.window_us} and {self.steps} steps: expected at least 1 us for each step"
            )
        if not callable(self.representation):
            raise ValueError(
                f"dataset.representation={self.representation}: expected how events become frames; a protocol says it, "
                "for example protocol=ems"
            )
        size = self.frame_hw
        if size is not None and not (isinstance(size, Sequence) and len(size) == 2 and all(map(_is_side, size))):
            raise ValueError(f"dataset.frame_hw={size}: expected [height, width] of at least 1 px, or null")

    @property
    def step_us(self) -> int:
        """Length of what one frame shows, microseconds."""
        return self.window_us // self.steps

    def frames(
        self, events: Events, start_us: int, end_us: int, sensor_hw: tuple[int, int], steps: int | None = None
    ) -> tuple[Tensor, tuple[float, float]]:
        """The frames of a window, or of a part of one.

        Args:
            events: from start (included) to end (excluded).
            start_us: microseconds.
            end_us: microseconds.
            sensor_hw: height and width of the sensor, px.
            steps: frames; None: those of a whole window.

        Returns:
            Frames `[steps, C, H, W]` uint8, and their px per px of the sensor, along x and y.
        """
        steps = self.steps if steps is None else steps
        if self.frame_hw is None:
            return self.representation(events, start_us, end_us, steps, sensor_hw), (1.0, 1.0)
        frame_hw = (self.frame_hw[0], self.frame_hw[1])
        events = scaled(events, sensor_hw, frame_hw)
        frames = self.representation(events, start_us, end_us, steps, frame_hw)
        return frames, (frame_hw[1] / sensor_hw[1], frame_hw[0] / sensor_hw[0])

    def along(
        self, events: Events, edges_us: Sequence[int], sensor_hw: tuple[int, int]
    ) -> tuple[Tensor, tuple[float, float]]:
        """A frame for each step of a stream.

        Args:
            events: from the first edge (included) to the last (excluded).
            edges_us: `[S + 1]`, where steps begin and end, microseconds.
            sensor_hw: height and width of the sensor, px.

        Returns:
            Frames `[S, C, H, W]` uint8, and their px per px of the sensor, along x and y.
        """
        places = np.searchsorted(events.t, edges_us)
        made = [
            self.frames(events.select(slice(begin, end)), *span, sensor_hw, steps=1)
            for (begin, end), span in zip(pairwise(places.tolist()), pairwise(edges_us), strict=True)
        ]
        return torch.cat([frame for frame, _ in made]), made[0][1]


def _is_side(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
