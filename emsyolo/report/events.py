"""Frames of events as pictures to look at."""

from __future__ import annotations

import torch
from torch import Tensor

GREY = 235.0  # where nothing happened
ON, OFF = (200.0, 30.0, 40.0), (30.0, 70.0, 190.0)  # red and blue


def pictures(frames: Tensor) -> list[Tensor]:
    """One picture of a still image, two of event frames: the first and the last step.

    Args:
        frames: `[T0, C, H, W]` uint8, or float in [0, 1].

    Returns:
        Each `[3, H, W]` uint8.
    """
    if len(frames) == 1:
        return [picture(frames[0])]
    return [picture(frames[0]), picture(frames[-1])]


def picture(frame: Tensor) -> Tensor:
    """A frame `[C, H, W]` in colour, `[3, H, W]` uint8.

    Three channels are shown as they are, one as grey; an even number is taken as off and on in turn, summed: off is
    blue, on is red, and full colour stands for the brightest pixel.
    """
    if frame.dtype != torch.uint8:
        frame = (frame * 255).round().to(torch.uint8)
    if frame.shape[0] == 3:
        return frame
    if frame.shape[0] % 2:
        return frame[:1].expand(3, -1, -1)
    off, on = frame[0::2].sum(dim=0).float(), frame[1::2].sum(dim=0).float()
    strength = ((off + on) / (off + on).max().clamp(min=1)).clamp(max=1).sqrt()
    share = on / (off + on).clamp(min=1)
    colour = share * frame.new_tensor(ON, dtype=torch.float32)[:, None, None] + (1 - share) * frame.new_tensor(
        OFF, dtype=torch.float32
    ).view(3, 1, 1)
    return (GREY + strength * (colour - GREY)).round().to(torch.uint8)
