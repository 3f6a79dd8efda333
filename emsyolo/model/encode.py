"""The home of T: how frames become a sequence of T steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Encode(nn.Module):
    """Frames of a batch as T steps: a still image at every step (direct encoding), event frames as they are.

    A still image is expanded without a copy, and `over_time` computes the layers before the first neuron once.

    Args:
        T: number of steps, >= 1; may be set at any time.

    Raises:
        ValueError: T < 1.
    """

    moves_values = True

    def __init__(self, T: int) -> None:
        super().__init__()
        self.T = T

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "T" and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise ValueError(f"T is {value!r}; expected a whole number of time steps, at least 1")
        super().__setattr__(name, value)

    def forward(self, frames: Tensor, dtype: torch.dtype, steps: int | None = None) -> Tensor:
        """Frames `[T0, N, C, H, W]`, uint8 or float in [0, 1], as `[T, N, C, H, W]` of `dtype` in [0, 1].

        Args:
            frames: T0 = 1 or T.
            dtype: of the result.
            steps: of a part of a stream, in place of T.

        Raises:
            ValueError: T0 is neither 1 nor T.
        """
        T = self.T if steps is None else steps
        if frames.ndim != 5 or frames.shape[0] not in (1, T):
            raise ValueError(
                f"frames are {tuple(frames.shape)}; expected [T0, N, C, H, W] with T0 = 1 (a still image) "
                f"or T0 = T = {T} (events)"
            )
        scaled = frames.to(dtype) / 255 if frames.dtype == torch.uint8 else frames.to(dtype)
        return scaled.expand(T, -1, -1, -1, -1) if len(frames) == 1 else scaled

    def extra_repr(self) -> str:
        """T."""
        return f"T={self.T}"
