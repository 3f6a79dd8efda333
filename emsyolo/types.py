"""What travels between the parts, and the one legend of its axes.

Axes: T time steps, N samples of a batch, C channels, H rows, W columns, A anchors per cell, K classes,
M boxes of one sample. Time comes first. Boxes are `[M, 4]` xyxy in pixels, `0 <= x0 < x1 <= W`.

The way of a data item: disk -> Dataset[i] -> Sample -> augment -> Sample -> collate -> Batch -> Detector -> HeadMaps
-> Loss | Candidates -> Detections -> metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Targets:
    """The true boxes of one sample.

    Attributes:
        boxes_xyxy: `[M, 4]` float32, pixels of the sample's frames.
        labels: `[M]` int64, index into the data set's class names.
        ignore: `[M]` bool; crowd and difficult boxes, which are neither trained on nor counted as missed.
    """

    boxes_xyxy: Tensor
    labels: Tensor
    ignore: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def none(cls) -> Targets:
        """No box: of a sample without truth."""
        return cls(torch.empty(0, 4), torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.bool))

    def select(self, keep: Tensor) -> Targets:
        """The boxes that `keep` (`[M]` bool, or indices) picks."""
        return Targets(self.boxes_xyxy[keep], self.labels[keep], self.ignore[keep])


@dataclass(frozen=True)
class Sample:
    """One item of a data set: frames, true boxes, and the way back to the original image.

    Attributes:
        frames: `[T0, C, H, W]` uint8; T0 = 1 for a still image, T for events, and `lead` more that come before.
        targets: true boxes in pixels of `frames`.
        id: number of the sample in its data set; `image_id` in the truth given to COCOeval.
        name: what a message calls it, for example the file's name.
        original_hw: height and width of the original image, px.
        scale_wh: px of `frames` per px of the original, along x and y.
        offset_xy: where the original's top left corner lies in `frames`, px.
        event_rate: events per second in the window that `frames` show; None for a still image.
        lead: number of frames at the front that only lead up to those in which the targets are true.
    """

    frames: Tensor
    targets: Targets
    id: int
    name: str
    original_hw: tuple[int, int]
    scale_wh: tuple[float, float] = (1.0, 1.0)
    offset_xy: tuple[float, float] = (0.0, 0.0)
    event_rate: float | None = None
    lead: int = 0


@dataclass(frozen=True)
class Clip:
    """Consecutive steps of a recording, as a stream shows them.

    Attributes:
        frames: `[L, C, H, W]` uint8, one for each step.
        samples: those whose targets are true at the end of one of these steps; `frames` of each is that step's.
        ends: of each sample, the number of steps up to its time, 1 to L.
        goes_on: the network remembers the clip that stood in the same place of the batch before; else nothing.
    """

    frames: Tensor
    samples: tuple[Sample, ...]
    ends: tuple[int, ...]
    goes_on: bool = False


@dataclass(frozen=True)
class Read:
    """Where in a batch a sample's answer is read out.

    Attributes:
        place: along N.
        frames: over which the maps are averaged.
    """

    place: int
    frames: range


@dataclass(frozen=True)
class Batch:
    """Samples of equal size, collated.

    Attributes:
        frames: `[T0, N, C, H, W]` uint8, or float in [0, 1].
        samples: without their frames' pixels (`frames` of each is empty): targets, names, way back. N of them, or, of
            clips, any number.
        before: `[L, N, C, H, W]`, the frames that lead up to `frames`; of each sample the last `lead` are real.
        reads: of clips, where each sample is read out; None: sample i at place i, over all frames.
        goes_on: `[N]` bool, of clips: the places that go on from what the network remembers of the last batch.
        window: frames of a whole window, which show T steps; None: as many as there are in `frames`.
    """

    frames: Tensor
    samples: tuple[Sample, ...]
    before: Tensor | None = None
    reads: tuple[Read, ...] | None = None
    goes_on: Tensor | None = None
    window: int | None = None

    @property
    def targets(self) -> tuple[Targets, ...]:
        """The true boxes of each sample."""
        return tuple(sample.targets for sample in self.samples)

    def to(self, device: torch.device) -> Batch:
        """The batch with its frames on a device; targets stay on the host, and follow where the loss needs them.

        The host does not wait for the copies where the batch is pinned.
        """
        return self._moved(lambda x: x.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """The batch in pinned memory, from which a GPU copies by itself; a loader with `pin_memory` calls it."""
        return self._moved(lambda x: x.pin_memory())

    def _moved(self, move: Callable[[Tensor], Tensor]) -> Batch:
        before, goes_on = (None if x is None else move(x) for x in (self.before, self.goes_on))
        return replace(self, frames=move(self.frames), before=before, goes_on=goes_on)

    def __len__(self) -> int:
        return len(self.samples)


@dataclass(frozen=True)
class Candidates:
    """Every box that head maps propose, before any selection.

    Attributes:
        boxes_xyxy: `[N, P, 4]`, px of the input, not clipped; float32 or better.
        scores: `[N, P, K]` in [0, 1].
    """

    boxes_xyxy: Tensor
    scores: Tensor


class Layout(Protocol):
    """What the numbers of head maps mean.

    Attributes:
        strides: px of the input per cell, per level, small first.
        num_classes: K.
    """

    @property
    def strides(self) -> tuple[int, ...]:
        """See the class."""

    @property
    def num_classes(self) -> int:
        """See the class."""

    def candidates(self, maps: Sequence[Tensor]) -> Candidates:
        """All boxes and scores, in one order that depends only on the maps' sizes."""

    def class_rows(self) -> Tensor:
        """The channels of each level's linear map that belong to a class, `[K, R]` int64."""

    def with_classes(self, num_classes: int) -> Layout:
        """The layout of the same head for another number of classes."""

    def differs(self, other: Layout) -> str:
        """In what the maps of another layout mean something else, in words; empty: in nothing."""

    def about(self) -> dict[str, Any]:
        """What a reader of exported maps must know, as plain values."""


@dataclass(frozen=True)
class HeadMaps:
    """What a detector gives: one raw map per level, small stride first, and what its numbers mean.

    Attributes:
        maps: per level `[N, ...]`, in the form of the layout, before any sigmoid.
        layout: what they mean.
    """

    maps: tuple[Tensor, ...]
    layout: Layout

    def candidates(self) -> Candidates:
        """All boxes and scores."""
        return self.layout.candidates(self.maps)

    @classmethod
    def joined(cls, parts: Sequence[HeadMaps]) -> HeadMaps:
        """The maps of several read-outs of one detector, one after the other along N."""
        if len(parts) == 1:
            return parts[0]
        return replace(parts[0], maps=tuple(map(torch.cat, zip(*(part.maps for part in parts), strict=True))))

    def split(self, parts: int) -> list[HeadMaps]:
        """The maps of each of `parts` read-outs, which lie one after the other along N."""
        levels = zip(*(level.chunk(parts) for level in self.maps), strict=True)
        return [replace(self, maps=level) for level in levels]


@dataclass(frozen=True)
class Detections:
    """The boxes found in one sample, best first; on the host.

    Attributes:
        boxes_xyxy: `[M, 4]` float32, px of the input frames, or of the original after `to_original`.
        scores: `[M]` float32 in [0, 1].
        labels: `[M]` int64.
    """

    boxes_xyxy: Tensor
    scores: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to_original(self, sample: Sample) -> Detections:
        """The same boxes in pixels of the sample's original image, clipped to it."""
        boxes = self.boxes_xyxy
        offset = boxes.new_tensor(sample.offset_xy * 2)
        scale = boxes.new_tensor(sample.scale_wh * 2)
        height, width = sample.original_hw
        limit = boxes.new_tensor([width, height, width, height])
        boxes = torch.minimum(((boxes - offset) / scale).clamp(min=0), limit)
        return Detections(boxes, self.scores, self.labels)
