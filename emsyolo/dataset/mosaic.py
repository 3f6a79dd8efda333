"""Mosaic: four images in one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from emsyolo.dataset.augment import GREY, Draw, clipped, uniform
from emsyolo.types import Sample, Targets

QUARTERS = ((False, False), (False, True), (True, False), (True, True))  # (at the bottom, on the right)


@dataclass(frozen=True)
class Mosaic:
    """Four images, fitted to the frame, that meet with one corner each at a random point of it, then zoomed.

    The zoom is about the frame's centre; zooming out shows more of the four, where Affine would show a grey margin.
    Boxes are clipped to the part of their image that shows; of those that are cut to under 10 % of their area, or under
    2 px, nothing is kept. The result has no way back to an original image.

    YOLOv5's mosaic together with the zoom that follows it there; the shift is left to Affine.

    Attributes:
        size_hw: height and width of the frame, px.
        p: how often.
        scale: the zoom is uniform in 1 - scale to 1 + scale; below 1.
        fill: value of what no image covers, 0 to 255.
    """

    closes: ClassVar[bool] = True  # may be left out in the last epochs, where images look as they will

    size_hw: tuple[int, int]
    p: float = 1.0
    scale: float = 0.5
    fill: int = GREY

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise ValueError(f"p={self.p}: expected a share in [0, 1]")
        if not 0 <= self.scale < 1:
            raise ValueError(f"scale={self.scale}: expected a share in [0, 1)")

    def __call__(self, sample: Sample, draw: Draw) -> Sample:
        """The mosaic of the sample and three drawn ones, or the sample as it was."""
        if uniform(0, 1) >= self.p:
            return sample
        height, width = self.size_hw
        zoom = uniform(1 - self.scale, 1 + self.scale)
        row, column = (round(side * (0.5 + zoom * uniform(-0.5, 0.5))) for side in (height, width))
        canvas = sample.frames.new_full((*sample.frames.shape[:2], height, width), self.fill)
        parts = [
            _place(canvas, one, zoom, (row, column), bottom, right)
            for (bottom, right), one in zip(QUARTERS, (sample, draw(), draw(), draw()), strict=True)
        ]
        targets = Targets(
            torch.cat([part.boxes_xyxy for part in parts]),
            torch.cat([part.labels for part in parts]),
            torch.cat([part.ignore for part in parts]),
        )
        return Sample(canvas, targets, sample.id, f"mosaic of {sample.name}", (height, width))


def _place(canvas: Tensor, sample: Sample, zoom: float, meet: tuple[int, int], bottom: bool, right: bool) -> Targets:
    """Draw one image into its quarter of the canvas (in place), and give its boxes there."""
    height, width = canvas.shape[-2:]
    image_hw = (sample.frames.shape[-2], sample.frames.shape[-1])
    ratio = zoom * min(height / image_hw[0], width / image_hw[1])
    new_h, new_w = max(1, round(image_hw[0] * ratio)), max(1, round(image_hw[1] * ratio))
    frames = F.resize(sample.frames, [new_h, new_w], antialias=True)
    # Where the image's top left corner comes to lie; the quarter is then what the canvas shows of the image.
    top, left = meet[0] - (0 if bottom else new_h), meet[1] - (0 if right else new_w)
    y0, y1 = max(top, 0), min(top + new_h, height)
    x0, x1 = max(left, 0), min(left + new_w, width)
    if y0 < y1 and x0 < x1:
        canvas[..., y0:y1, x0:x1] = frames[..., y0 - top : y1 - top, x0 - left : x1 - left]
    boxes = sample.targets.boxes_xyxy
    scale = boxes.new_tensor([new_w / image_hw[1], new_h / image_hw[0]] * 2)
    moved = replace(sample.targets, boxes_xyxy=boxes * scale + boxes.new_tensor([left, top] * 2))
    return clipped(moved, (height, width))
