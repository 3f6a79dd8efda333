"""Averaged weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def ema_average(decay: float, steps: float) -> Callable[[list[torch.Tensor], list[torch.Tensor], Any], None]:
    """The exponential moving average of YOLOv5: its decay rises as decay * (1 - exp(-n / steps)).

    Args:
        decay: in the long run, in [0, 1).
        steps: of the rise; early weights are forgotten fast.
    """

    counts: dict[torch.dtype, float] = {}  # of updates

    def number(count: Any, dtype: torch.dtype) -> float:
        """The count, read once from a device that would have to be waited for, and then counted here."""
        if not isinstance(count, torch.Tensor) or count.device.type == "cpu" or dtype not in counts:
            counts[dtype] = float(count)
        else:
            counts[dtype] += 1
        return counts[dtype]

    @torch.no_grad()
    def update(averaged: list[torch.Tensor], current: list[torch.Tensor], count: Any) -> None:
        dtype = averaged[0].dtype  # torch calls once for each
        share = 1 - decay * (1 - torch.exp(torch.as_tensor(-number(count, dtype) / steps))).item()
        moved = [value.to(mean.device) for mean, value in zip(averaged, current, strict=True)]
        if dtype.is_floating_point:
            torch._foreach_lerp_(averaged, moved, share)
        else:
            torch._foreach_copy_(averaged, moved)

    return update
