"""Heads: one linear map per scale, averaged over time. Whatever spikes before the maps belongs to the neck."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from emsyolo.geometry.anchors import AnchorLayout, BoxDecoding, decode_yolov5
from emsyolo.layer.multistep import over_steps
from emsyolo.neuron.neuron import NeuronFactory
from emsyolo.types import HeadMaps, Layout


class HeadFactory(Protocol):
    """Makes a head for a neck, and gives the neck with whatever stands between it and the head."""

    def __call__(
        self, neck: nn.Module, widths: Sequence[int], strides: Sequence[int], num_classes: int, neuron: NeuronFactory
    ) -> tuple[nn.Module, Head]:
        """The neck and the head; `widths` are the channels of the neck's maps."""


class Head(nn.Module):
    """What a detector asks of its head; it is linear, so that it may be read out at any step.

    Attributes:
        maps: the linear maps, small stride first.
    """

    maps: nn.ModuleList

    @property
    def layout(self) -> Layout:
        """What the maps mean."""
        raise NotImplementedError

    @property
    def map_starts(self) -> dict[str, int]:
        """By the name of each linear map's convolution, which channel of its level its first one is."""
        raise NotImplementedError

    def forward(self, features: Sequence[Tensor]) -> HeadMaps:
        """Features per scale, `[T, N, C, H, W]`, to the maps of their mean over T."""
        raise NotImplementedError


def mean_over_time(x: Tensor, conv: nn.Module) -> Tensor:
    """The mean of `[T, N, C, H, W]` over T, in a convolution's type; of one step itself: spikes stay spikes."""
    dtype = conv.get_parameter("weight").dtype
    return over_steps(x, lambda steps: steps.mean(dim=0, dtype=dtype)) if len(x) > 1 else x[0].to(dtype)


class YOLOHead(Head):
    """1x1 convolutions with bias to A * (5 + K) channels, and the mean over T.

    The mean is taken first: the map is linear, so it is the same, at a T-th of the cost.

    Args:
        channels: of each scale's input.
        strides: px of the input per cell, small first.
        anchors: per scale a list of (width, height) in px.
        num_classes: K.
        decoding: form of the boxes.
        anchors_per_level: how many there must be per scale; None: as many as there are.

    Raises:
        ValueError: anchors that are not one list of (width, height) > 0 per scale, other numbers of them than
            `anchors_per_level`, or K < 1.
    """

    anchors: Tensor

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        anchors: Sequence[Sequence[Sequence[float]]],
        num_classes: int,
        decoding: BoxDecoding = decode_yolov5,
        anchors_per_level: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes is {num_classes}; expected at least 1")
        try:
            sizes = torch.tensor(anchors, dtype=torch.float32)
        except (TypeError, ValueError):
            sizes = torch.empty(0)
        if sizes.ndim != 3 or len(sizes) != len(strides) or sizes.shape[2] != 2 or not (sizes > 0).all():
            raise ValueError(
                f"anchors are {anchors!r}; expected {len(strides)} lists (strides {list(strides)}) of (width, height) "
                "px, the same number in each"
            )
        if anchors_per_level is not None and [len(level) for level in anchors] != list(anchors_per_level):
            raise ValueError(
                f"anchors are {anchors!r}; expected {list(anchors_per_level)} of them for the strides {list(strides)}; "
                "model.anchors=auto finds as many, model.anchors_per_level is for other numbers"
            )
        self.num_classes = num_classes
        self.strides = tuple(strides)
        self.decoding = decoding
        self.register_buffer("anchors", sizes)
        self.maps = nn.ModuleList(nn.Conv2d(c, sizes.shape[1] * (5 + num_classes), 1) for c in channels)
        self._start_biases()

    @property
    def layout(self) -> AnchorLayout:
        """What its maps mean."""
        return AnchorLayout(self.strides, tuple(self.anchors), self.num_classes, self.decoding)

    @property
    def map_starts(self) -> dict[str, int]:
        """See `Head`."""
        return {f"maps.{i}": 0 for i in range(len(self.maps))}

    @torch.no_grad()
    def _start_biases(self) -> None:
        """Objectness starts at about 8 objects per 640-px image, classes at 0.6 spread over K (as YOLOv5)."""
        for conv, stride in zip(self.maps, self.strides, strict=True):
            bias = conv.get_parameter("bias").view(-1, 5 + self.num_classes)
            bias[:, 4] += math.log(8 / (640 / stride) ** 2)
            bias[:, 5:] += math.log(0.6 / (self.num_classes - 0.999999))

    def forward(self, features: Sequence[Tensor]) -> HeadMaps:
        """Features per scale, `[T, N, C, H, W]`, to raw maps `[N, A, H, W, 5+K]`."""
        maps = []
        for conv, x in zip(self.maps, features, strict=True):
            raw = conv(mean_over_time(x, conv))
            maps.append(raw.unflatten(1, (self.anchors.shape[1], -1)).permute(0, 1, 3, 4, 2))
        return HeadMaps(tuple(maps), self.layout)
