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

    @torch.no_grad()
    def update(averaged: list[torch.Tensor], current: list[torch.Tensor], count: Any) -> None:
        share = 1 - decay * (1 - torch.exp(torch.as_tensor(-float(count) / steps))).item()
        moved = [value.to(mean.device) for mean, value in zip(averaged, current, strict=True)]
        if averaged[0].is_floating_point():  # torch calls once for each type
            torch._foreach_lerp_(averaged, moved, share)
        else:
            torch._foreach_copy_(averaged, moved)

    return update
