"""The loss of EMS-YOLO, which is YOLOv5's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torchvision.ops import box_convert

from emsyolo.distributed import summed, world_size
from emsyolo.geometry.anchors import AnchorLayout
from emsyolo.geometry.iou import complete_iou
from emsyolo.loss.assign import assign, flatten_targets
from emsyolo.types import HeadMaps, Targets

MIN_SIDE_PX = 0.01  # far above the steps of float32 near 1,000 px, far below any box
LEVEL_BALANCE = {1: (1.0,), 2: (4.0, 1.0), 3: (4.0, 1.0, 0.4)}


@dataclass(frozen=True)
class YOLOLoss:
    """Box loss 1 - CIoU, objectness BCE against the CIoU, class BCE; sums over levels, times the batch size.

    YOLOv5 as published with EMS-YOLO (Su et al., ICCV 2023). Differs: where several boxes match one place, its
    objectness target is the largest CIoU (there: of whichever was written last).

    Attributes:
        box: gain; it is scaled by 3 / levels.
        objectness: gain; it is scaled by 3 / levels and by `area_scaled`.
        classes: gain; it is scaled by 3 / levels and, with `class_scaled`, by K / 80; K = 1 has no class term.
        area_scaled: multiply the objectness gain by H * W / 640^2, as published.
        class_scaled: multiply the class gain by K / 80, as published; for K = 80 it makes no difference.
        anchor_ratio: a box matches an anchor when no side differs by this factor or more, > 1.
        distillation: gain of the distance to a teacher's maps, where there is a teacher; the gains above stand before
            its parts, too.
        neighbours: a box is matched in the two nearest cells, too (YOLOv5), not only in that of its centre (YOLOv3).
    """

    parts: ClassVar[tuple[str, ...]] = ("box", "objectness", "class")
    reads: ClassVar[type[AnchorLayout]] = AnchorLayout

    box: float = 0.05
    objectness: float = 1.0
    classes: float = 0.5
    area_scaled: bool = True
    class_scaled: bool = True
    anchor_ratio: float = 4.0
    distillation: float = 1.0
    neighbours: bool = True

    def __call__(
        self, head_maps: HeadMaps, targets: Sequence[Targets], taught: HeadMaps | None = None
    ) -> dict[str, Tensor]:
        """`loss` (scalar, to be minimised) and its parts `box`, `objectness`, `class` (scalars, detached).

        With a teacher's maps `taught` there is a part `distillation`: objectness against the teacher's, boxes
        (1 - CIoU) and classes against its own, weighted by its objectness. Mehta and Ozturk, 2018.
        """
        maps = _exact(head_maps)
        image, boxes, labels = flatten_targets(targets, maps[0])
        layout = _anchored(head_maps)
        parts = {name: maps[0].new_zeros(()) for name in self.parts}
        levels = list(zip(maps, layout.strides, layout.anchors, strict=True))
        matches = [
            assign(
                image,
                boxes,
                labels,
                anchors=anchors,
                stride=stride,
                size_hw=(raw.shape[2], raw.shape[3]),
                ratio=self.anchor_ratio,
                neighbours=self.neighbours,
            )
            for raw, stride, anchors in levels
        ]
        # Several processes divide by their mean number of matches, so that the mean of their losses is that of all.
        counts = summed(torch.stack([m.valid.sum() for m in matches]).to(maps[0].dtype)) / world_size()
        for (raw, stride, anchors), m, count, balance in zip(
            levels, matches, counts.clamp(min=1 / world_size()), LEVEL_BALANCE[len(maps)], strict=True
        ):
            classes = raw.shape[-1] - 5
            objectness = raw.new_zeros(raw.shape[:-1])
            place, valid = (m.image, m.anchor, m.row, m.column), m.valid[:, None]
            # What does not match takes part as if it were found exactly: no loss, no gradient, and never 0 * infinity.
            predicted = torch.where(valid, layout.decoding(raw, stride, anchors)[place], m.boxes_xywh)
            ciou = complete_iou(_corners(predicted), _corners(m.boxes_xywh), lift=0)
            parts["box"] = parts["box"] + torch.where(m.valid, 1 - ciou, 0).sum() / count
            found = torch.where(m.valid, ciou.detach(), 0).clamp(min=0)
            steps = zip(place, objectness.stride(), strict=True)
            flat = torch.stack([at * step for at, step in steps]).sum(dim=0)  # CUDA has no product of int64 matrices
            objectness.view(-1).scatter_reduce_(0, flat, found, "amax")
            if classes > 1:
                logits = torch.where(valid, raw[..., 5:][place], 0)
                truth = torch.zeros_like(logits).scatter_(1, m.labels[:, None], 1.0)
                every = torch.where(valid, bce(logits, truth, reduction="none"), 0).sum()
                parts["class"] = parts["class"] + every / (count * classes)
            parts["objectness"] = parts["objectness"] + balance * bce(raw[..., 4], objectness)

        gains = self._gains(maps, layout.strides[0])
        for name, gain in gains.items():
            parts[name] = parts[name] * gain
        if taught is not None:
            parts["distillation"] = self.distillation * _distance(head_maps, taught, gains)
        loss = torch.stack(list(parts.values())).sum() * len(maps[0])
        return {"loss": loss, **{name: value.detach() for name, value in parts.items()}}

    def _gains(self, maps: Sequence[Tensor], stride: int) -> dict[str, float]:
        share = 3 / len(maps)
        area = maps[0].shape[2] * maps[0].shape[3] * stride**2 / 640**2 if self.area_scaled else 1.0
        classes = (maps[0].shape[-1] - 5) / 80 if self.class_scaled else 1.0
        return {
            "box": self.box * share,
            "objectness": self.objectness * area * share,
            "class": self.classes * classes * share,
        }


def _anchored(head_maps: HeadMaps) -> AnchorLayout:
    """The layout, which `check_pair` has seen."""
    assert isinstance(head_maps.layout, AnchorLayout)
    return head_maps.layout


def _exact(head_maps: HeadMaps) -> list[Tensor]:
    """The maps, at least in float32."""
    return [raw.float() if raw.dtype in (torch.float16, torch.bfloat16) else raw for raw in head_maps.maps]


def _corners(xywh: Tensor) -> Tensor:
    """Boxes as xyxy, px, no side below `MIN_SIDE_PX`: if both are lost, CIoU's angle is that of 0 / 0."""
    return box_convert(torch.cat((xywh[..., :2], xywh[..., 2:].clamp(min=MIN_SIDE_PX)), dim=-1), "cxcywh", "xyxy")


def _distance(head_maps: HeadMaps, taught: HeadMaps, gains: dict[str, float]) -> Tensor:
    """How far maps are from a teacher's (scalar)."""
    maps, theirs = _exact(head_maps), _exact(taught)
    total = maps[0].new_zeros(())
    certainties = [goal[..., 4].sigmoid() for goal in theirs]
    weights = summed(torch.stack([certain.sum() for certain in certainties])) / world_size()  # as for the matches
    layout = _anchored(head_maps)
    levels = zip(maps, theirs, certainties, weights, layout.strides, layout.anchors, strict=True)
    for (raw, goal, certain, weight, stride, anchors), balance in zip(levels, LEVEL_BALANCE[len(maps)], strict=True):
        boxes, aims = (_corners(layout.decoding(raw_map, stride, anchors)) for raw_map in (raw, goal))
        every = bce(raw[..., 5:], goal[..., 5:].sigmoid(), reduction="none")
        parts = {"box": 1 - complete_iou(boxes, aims, lift=0), "class": every.mean(dim=-1)}
        for name, part in parts.items():
            if name == "box" or raw.shape[-1] > 6:
                total = total + gains[name] * (part * certain).sum() / weight
        total = total + gains["objectness"] * balance * bce(raw[..., 4], certain)
    return total
