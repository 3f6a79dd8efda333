"""Events of a camera, as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Events:
    """Events in the order of time.

    Windows of time are half open everywhere: `start_us <= t < end_us`.

    Attributes:
        t: `[E]` int64, microseconds, ascending; equal times are allowed.
        x: `[E]` uint16, column, `0 <= x < W`.
        y: `[E]` uint16, row, `0 <= y < H`.
        p: `[E]` uint8, 1 for brighter (on), 0 for darker (off).
    """

    t: NDArray[np.int64]
    x: NDArray[np.uint16]
    y: NDArray[np.uint16]
    p: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.t)

    def select(self, keep: NDArray[np.bool_] | NDArray[np.intp] | slice) -> Events:
        """The events that `keep` (`[E]` bool, indices, or a slice) picks."""
        return Events(self.t[keep], self.x[keep], self.y[keep], self.p[keep])
