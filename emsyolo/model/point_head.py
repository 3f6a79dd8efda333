"""The anchor-free head: two linear maps per scale, averaged over time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from emsyolo.geometry.points import PointLayout
from emsyolo.model.head import Head, mean_over_time
from emsyolo.types import HeadMaps


class PointHead(Head):
    """1x1 convolutions with bias for the sides of boxes (4 * bins channels) and for the classes (K), as in YOLOv8.

    What comes before them, the towers, belongs to the neck: the head is linear, and its mean over T is taken first.

    Args:
        channels: of each scale's two inputs, for boxes and for classes.
        strides: px of the input per cell, small first.
        num_classes: K.
        bins: of the distribution of a side.

    Raises:
        ValueError: K < 1, or bins < 2.
    """

    def __init__(
        self, channels: Sequence[tuple[int, int]], strides: Sequence[int], num_classes: int, bins: int = 16
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes is {num_classes}; expected at least 1")
        if bins < 2:
            raise ValueError(f"head.bins is {bins}; expected at least 2")
        self.strides, self.num_classes, self.bins = tuple(strides), num_classes, bins
        self.maps = nn.ModuleList(
            nn.ModuleDict({"boxes": nn.Conv2d(box, 4 * bins, 1), "classes": nn.Conv2d(classes, num_classes, 1)})
            for box, classes in channels
        )
        # Fixed; a parameter, because the published networks count it as one.
        self.projection = nn.Parameter(torch.arange(bins, dtype=torch.float32), requires_grad=False)
        self._start_biases()

    @property
    def layout(self) -> PointLayout:
        """What its maps mean."""
        return PointLayout(self.strides, self.num_classes, self.bins)

    @property
    def map_starts(self) -> dict[str, int]:
        """See `Head`."""
        found: dict[str, int] = {}
        for i in range(len(self.maps)):
            found |= {f"maps.{i}.boxes": 0, f"maps.{i}.classes": 4 * self.bins}
        return found

    @torch.no_grad()
    def _start_biases(self) -> None:
        """Boxes start at 1, classes at about 5 objects per 640-px image (as YOLOv8)."""
        for level, stride in zip(self.maps, self.strides, strict=True):
            assert isinstance(level, nn.ModuleDict)
            nn.init.ones_(level["boxes"].get_parameter("bias"))
            start = math.log(5 / self.num_classes / (640 / stride) ** 2)
            nn.init.constant_(level["classes"].get_parameter("bias"), start)

    def forward(self, features: Sequence[Tensor]) -> HeadMaps:
        """Features per scale, for boxes and for classes in turn, `[T, N, C, H, W]`, to maps `[N, 4*bins + K, H, W]`."""
        found = []
        for i, level in enumerate(self.maps):
            assert isinstance(level, nn.ModuleDict)
            both = zip((level["boxes"], level["classes"]), features[2 * i : 2 * i + 2], strict=True)
            found.append(torch.cat([conv(mean_over_time(x, conv)) for conv, x in both], dim=1))
        return HeadMaps(tuple(found), self.layout)
