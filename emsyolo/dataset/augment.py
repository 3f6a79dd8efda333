"""Changes to one sample: letterbox, stretch, flip, turn, affine, colours, cutout.

Each is a frozen dataclass, called with a sample and `draw`, which gives another random sample of the data set (only
Mosaic asks for one). Each gives a new sample, leaves its input untouched, takes frames `[T0, C, H, W]` uint8 of any T0
(all of them change in the same way), and draws only from torch's global generator.

Letterbox and Stretch keep the way back to the original image (`scale_wh`, `offset_xy`); the random changes do not, for
training needs none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from emsyolo.types import Sample, Targets

Draw = Callable[[], Sample]

GREY = 114  # of what lies outside the image, as in YOLOv5
MIN_AREA_LEFT = 0.1  # share of a box that must be left by clipping, as in YOLOv5
MIN_SIDE_PX = 2.0  # of what is left, as in YOLOv5
MAX_HIDDEN = 0.6  # share of a box that cutout may hide, as in YOLOv5


class Transform(Protocol):
    """A change to a sample."""

    def __call__(self, sample: Sample, draw: Draw) -> Sample:
        """The changed sample; `draw` gives another, random one of the data set."""
        ...


def uniform(low: float, high: float) -> float:
    """A random number in [low, high) from torch's global generator."""
    return low + (high - low) * torch.rand(()).item()


def clipped(targets: Targets, size_hw: tuple[int, int]) -> Targets:
    """The boxes clipped to the frame, without those of which too little is left: under 10 % of the area, or 2 px."""
    height, width = size_hw
    before = targets.boxes_xyxy
    boxes = torch.minimum(before.clamp(min=0), before.new_tensor([width, height, width, height]))
    sides = boxes[:, 2:] - boxes[:, :2]
    areas = (before[:, 2:] - before[:, :2]).prod(dim=1)
    keep = (sides >= MIN_SIDE_PX).all(dim=1) & (sides.prod(dim=1) >= MIN_AREA_LEFT * areas)
    return replace(targets, boxes_xyxy=boxes).select(keep)


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name}={value}: expected a share in [0, 1]")


class Fit(Protocol):
    """What brings every sample to the size of the network's input; it may stand among transforms, but draws nothing."""

    def __call__(self, sample: Sample, draw: Draw | None = None) -> Sample:
        """The sample in that size."""
        ...

    def scale_wh(self, image_hw: tuple[int, int]) -> tuple[float, float]:
        """Px of the frame per px of an image of that height and width, along x and y."""
        ...


@dataclass(frozen=True)
class Letterbox:
    """Fits the image into a frame, aspect kept, centred, the rest filled.

    Attributes:
        size_hw: height and width of the frame, px.
        fill: value of the rest, 0 to 255.
        enlarge: images smaller than the frame are enlarged; else they keep their pixels.
    """

    size_hw: tuple[int, int]
    fill: int = GREY
    enlarge: bool = True

    def _new_hw(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        ratio = min(self.size_hw[0] / image_hw[0], self.size_hw[1] / image_hw[1])
        ratio = ratio if self.enlarge else min(ratio, 1.0)
        return max(1, round(image_hw[0] * ratio)), max(1, round(image_hw[1] * ratio))

    def scale_wh(self, image_hw: tuple[int, int]) -> tuple[float, float]:
        """Px of the frame per px of the image; the sides are whole pixels, so that x and y differ a little."""
        new_h, new_w = self._new_hw(image_hw)
        return new_w / image_hw[1], new_h / image_hw[0]

    def __call__(self, sample: Sample, draw: Draw | None = None) -> Sample:
        """The sample in the frame; itself, if it has that size already."""
        height, width = sample.frames.shape[-2:]
        frame_h, frame_w = self.size_hw
        if (height, width) == (frame_h, frame_w):
            return sample
        new_h, new_w = self._new_hw((height, width))
        top, left = (frame_h - new_h) // 2, (frame_w - new_w) // 2
        resized = _resized(sample, (new_h, new_w))
        frames = F.pad(resized.frames, [left, top, frame_w - new_w - left, frame_h - new_h - top], fill=self.fill)
        boxes = resized.targets.boxes_xyxy
        return replace(
            resized,
            frames=frames,
            targets=replace(resized.targets, boxes_xyxy=boxes + boxes.new_tensor([left, top] * 2)),
            offset_xy=(resized.offset_xy[0] + left, resized.offset_xy[1] + top),
        )


@dataclass(frozen=True)
class Stretch:
    """Resizes the image to a frame, whatever its aspect.

    Attributes:
        size_hw: height and width of the frame, px.
    """

    size_hw: tuple[int, int]

    def scale_wh(self, image_hw: tuple[int, int]) -> tuple[float, float]:
        """Px of the frame per px of the image, along x and y."""
        return self.size_hw[1] / image_hw[1], self.size_hw[0] / image_hw[0]

    def __call__(self, sample: Sample, draw: Draw | None = None) -> Sample:
        """The sample in that size."""
        return _resized(sample, self.size_hw)


def _resized(sample: Sample, size_hw: tuple[int, int]) -> Sample:
    """The sample with frames (bilinear, antialiased), boxes and way back of another size."""
    height, width = sample.frames.shape[-2:]
    if (height, width) == tuple(size_hw):
        return sample
    scale_x, scale_y = size_hw[1] / width, size_hw[0] / height
    boxes = sample.targets.boxes_xyxy
    return replace(
        sample,
        frames=F.resize(sample.frames, list(size_hw), antialias=True),
        targets=replace(sample.targets, boxes_xyxy=boxes * boxes.new_tensor([scale_x, scale_y] * 2)),
        scale_wh=(sample.scale_wh[0] * scale_x, sample.scale_wh[1] * scale_y),
        offset_xy=(sample.offset_xy[0] * scale_x, sample.offset_xy[1] * scale_y),
    )


@dataclass(frozen=True)
class Flip:
    """Mirrors left and right.

    Attributes:
        p: how often.
    """

    p: float = 0.5

    def __post_init__(self) -> None:
        _check_share("p", self.p)

    def __call__(self, sample: Sample, draw: Draw) -> Sample:
        """The sample or its mirror image."""
        if uniform(0, 1) >= self.p:
            return sample
        size_hw = (sample.frames.shape[-2], sample.frames.shape[-1])
        boxes = tv_tensors.BoundingBoxes(sample.targets.boxes_xyxy, format="XYXY", canvas_size=size_hw)
        targets = replace(sample.targets, boxes_xyxy=F.horizontal_flip(boxes).as_subclass(Tensor))
        return replace(sample, frames=F.horizontal_flip(sample.frames), targets=targets)


@dataclass(frozen=True)
class Turn:
    """Turns by a random number of quarters, for views from above, which have no up: exact in pixels and boxes.

    A frame that is not square is turned only by halves, so that it keeps its size.

    Attributes:
        p: how often; of these, one in four (of halves: one in two) stays as it was.
    """

    p: float = 1.0

    def __post_init__(self) -> None:
        _check_share("p", self.p)

    def __call__(self, sample: Sample, draw: Draw) -> Sample:
        """The sample turned, or as it was."""
        if uniform(0, 1) >= self.p:
            return sample
        quarters = int(torch.randint(4, ()))
        height, width = sample.frames.shape[-2:]
        if height != width:
            quarters -= quarters % 2
        x0, y0, x1, y1 = sample.targets.boxes_xyxy.unbind(dim=1)
        turned = {  # against the clock, as torch.rot90
            0: (x0, y0, x1, y1),
            1: (y0, width - x1, y1, width - x0),
            2: (width - x1, height - y1, width - x0, height - y0),
            3: (height - y1, x0, height - y0, x1),
        }[quarters]
        frames = torch.rot90(sample.frames, quarters, (-2, -1)).contiguous()
        return replace(sample, frames=frames, targets=replace(sample.targets, boxes_xyxy=torch.stack(turned, dim=1)))


@dataclass(frozen=True)
class Affine:
    """Zooms about the centre and shifts; the frame keeps its size, and boxes that leave it are dropped.

    Attributes:
        scale: the factor is uniform in 1 - scale to 1 + scale; below 1.
        translate: the shift is uniform in this share of the width and of the height, to either side.
        fill: value of what lies outside the image, 0 to 255.
    """

    scale: float = 0.5
    translate: float = 0.1
    fill: int = GREY

    def __post_init__(self) -> None:
        if not 0 <= self.scale < 1:
            raise ValueError(f"scale={self.scale}: expected a share in [0, 1)")
        _check_share("translate", self.translate)

    def __call__(self, sample: Sample, draw: Draw) -> Sample:
        """The sample zoomed and shifted."""
        channels, height, width = sample.frames.shape[-3:]
        motion = {
            "angle": 0.0,
            "scale": uniform(1 - self.scale, 1 + self.scale),
            "translate": [uniform(-1, 1) * self.translate * width, uniform(-1, 1) * self.translate * height],
            "shear": [0.0, 0.0],
        }
        fill = [float(self.fill)] * channels
        frames = F.affine(sample.frames, **motion, interpolation=InterpolationMode.BILINEAR, fill=fill)
        boxes = tv_tensors.BoundingBoxes(sample.targets.boxes_xyxy, format="XYXY", canvas_size=(height, width))
        moved = F.affine(boxes, **motion).as_subclass(Tensor)
        return replace(
            sample, frames=frames, targets=clipped(replace(sample.targets, boxes_xyxy=moved), (height, width))
        )


@dataclass(frozen=True)
class HSV:
    """Changes hue, saturation and value at random.

    Differs from YOLOv5: its hue gain multiplies the hue, here it is the shift, so that red is shifted as well; its
    saturation gain multiplies HSV's S, here the image is mixed with its grey.

    Attributes:
        hue: the shift is uniform in this share of the colour circle, to either side; at most 0.5.
        saturation: the factor is uniform in 1 - saturation to 1 + saturation; at most 1.
        value: the factor is uniform in 1 - value to 1 + value; at most 1.
    """

    hue: float = 0.015
    saturation: float = 0.7
    value: float = 0.4

    def __post_init__(self) -> None:
        if not 0 <= self.hue <= 0.5:
            raise ValueError(f"hue={self.hue}: expected a share of the colour circle in [0, 0.5]")
        _check_share("saturation", self.saturation)
        _check_share("value", self.value)

    def __call__(self, sample: Sample, draw: Draw) -> Sample:
        """The sample in other colours."""
        frames = sample.frames
        if frames.shape[-3] != 3:
            raise ValueError(f"HSV: {sample.name} has {frames.shape[-3]} channels; expected RGB; set augment.hsv=null")
        shift, saturation, value = (uniform(-1, 1) for _ in range(3))
        if self.hue:
            frames = F.adjust_hue(frames, shift * self.hue)
        if self.saturation:
            frames = F.adjust_saturation(frames, 1 + saturation * self.saturation)
        if self.value:
            frames = F.adjust_brightness(frames, 1 + value * self.value)
        return replace(sample, frames=frames)


@dataclass(frozen=True)
class Cutout:
    """Covers rectangles with a random colour each; boxes that end up more than 60 % hidden are dropped.

    DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017. Differs: the
    rectangles have random sizes and lie within the image, as in YOLOv5.

    Attributes:
        p: how often.
        holes: number of rectangles.
        max_share: of a rectangle's width in the image's, and of its height; at least 1 px.
    """

    p: float = 0.5
    holes: int = 4
    max_share: float = 0.25

    def __post_init__(self) -> None:
        _check_share("p", self.p)
        _check_share("max_share", self.max_share)
        if self.holes < 1:
            raise ValueError(f"holes={self.holes}: expected at least 1; set p=0 for none")

    def __call__(self, sample: Sample, draw: Draw) -> Sample:
        """The sample with holes, or as it was."""
        if uniform(0, 1) >= self.p:
            return sample
        frames = sample.frames.clone()
        channels, height, width = frames.shape[-3:]
        hidden = torch.zeros(height, width, dtype=torch.bool)
        for _ in range(self.holes):
            rows = max(1, round(height * uniform(0, self.max_share)))
            columns = max(1, round(width * uniform(0, self.max_share)))
            top, left = int(uniform(0, height - rows + 1)), int(uniform(0, width - columns + 1))
            hole = (..., slice(top, top + rows), slice(left, left + columns))
            frames[hole] = torch.randint(256, (channels, 1, 1), dtype=torch.uint8)
            hidden[hole] = True
        keep = [float(share) <= MAX_HIDDEN for share in _hidden_shares(hidden, sample.targets.boxes_xyxy)]
        return replace(sample, frames=frames, targets=sample.targets.select(torch.tensor(keep, dtype=torch.bool)))


def _hidden_shares(hidden: Tensor, boxes_xyxy: Tensor) -> list[Tensor]:
    """Share of each box's pixels, those it touches, that a mask `[H, W]` hides."""
    corners = torch.cat([boxes_xyxy[:, :2].floor(), boxes_xyxy[:, 2:].ceil()], dim=1).int().tolist()
    return [hidden[y0:y1, x0:x1].float().mean() for x0, y0, x1, y1 in corners]
