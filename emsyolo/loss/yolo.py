"""The loss of EMS-YOLO, which is YOLOv5's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torchvision.ops import box_convert, complete_box_iou_loss

from emsyolo.distributed import summed, world_size
from emsyolo.loss.assign import assign, flatten_targets
from emsyolo.types import HeadMaps, Targets

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
    """

    box: float = 0.05
    objectness: float = 1.0
    classes: float = 0.5
    area_scaled: bool = True
    class_scaled: bool = True
    anchor_ratio: float = 4.0

    def __call__(self, head_maps: HeadMaps, targets: Sequence[Targets]) -> dict[str, Tensor]:
        """`loss` (scalar, to be minimised) and its parts `box`, `objectness`, `class` (scalars, detached)."""
        maps = [raw.float() if raw.dtype in (torch.float16, torch.bfloat16) else raw for raw in head_maps.maps]
        image, boxes, labels = flatten_targets(targets, maps[0].device)
        boxes = boxes.to(maps[0].dtype)
        parts = {name: maps[0].new_zeros(()) for name in ("box", "objectness", "class")}
        levels = list(zip(maps, head_maps.strides, head_maps.anchors, strict=True))
        matches = [
            assign(
                image,
                boxes,
                labels,
                anchors=anchors,
                stride=stride,
                size_hw=(raw.shape[2], raw.shape[3]),
                ratio=self.anchor_ratio,
            )
            for raw, stride, anchors in levels
        ]
        # Several processes divide by their mean number of matches, so that the mean of their losses is that of all.
        counts = summed(torch.tensor([float(len(m.labels)) for m in matches], device=maps[0].device)) / world_size()
        for (raw, stride, anchors), m, count, balance in zip(
            levels, matches, counts.to(maps[0].dtype), LEVEL_BALANCE[len(maps)], strict=True
        ):
            classes = raw.shape[-1] - 5
            objectness = raw.new_zeros(raw.shape[:-1])
            if len(m.labels):
                place = (m.image, m.anchor, m.row, m.column)
                predicted = head_maps.decoding(raw, stride, anchors)[place]
                miss = complete_box_iou_loss(
                    box_convert(predicted, "cxcywh", "xyxy"), box_convert(m.boxes_xywh, "cxcywh", "xyxy")
                )
                parts["box"] = parts["box"] + miss.sum() / count
                ciou = (1 - miss.detach()).clamp(min=0)
                flat = torch.stack(place).T @ torch.tensor(objectness.stride(), device=raw.device)
                objectness.view(-1).scatter_reduce_(0, flat, ciou, "amax")
                if classes > 1:
                    truth = torch.zeros_like(raw[..., 5:][place])
                    truth[torch.arange(len(m.labels)), m.labels] = 1
                    every = bce(raw[..., 5:][place], truth, reduction="sum")
                    parts["class"] = parts["class"] + every / (count * classes)
            parts["objectness"] = parts["objectness"] + balance * bce(raw[..., 4], objectness)

        share = 3 / len(maps)
        height, width = (maps[0].shape[i] * head_maps.strides[0] for i in (2, 3))
        area = height * width / 640**2 if self.area_scaled else 1.0
        parts["box"] = parts["box"] * (self.box * share)
        parts["objectness"] = parts["objectness"] * (self.objectness * area * share)
        parts["class"] = parts["class"] * (self.classes * (classes / 80 if self.class_scaled else 1.0) * share)
        loss = torch.stack(list(parts.values())).sum() * len(maps[0])
        return {"loss": loss, **{name: value.detach() for name, value in parts.items()}}
