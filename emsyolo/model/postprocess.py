"""From head maps to detections."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_convert

from emsyolo.geometry.nms import merged, nms
from emsyolo.types import Detections, HeadMaps

CANDIDATES = 30_000  # per image before suppression, as YOLOv5: bounds the time of an untrained network


def decode(head_maps: HeadMaps) -> Tensor:
    """All boxes of a batch, `[N, boxes, 5+K]`: xywh in px, objectness and classes in [0, 1].

    Boxes are ordered level, anchor, row, column. Computed in float32 or better.
    """
    levels = []
    for raw, stride, anchors in zip(head_maps.maps, head_maps.strides, head_maps.anchors, strict=True):
        exact = raw.to(torch.promote_types(raw.dtype, torch.float32))
        boxes = head_maps.decoding(exact, stride, anchors)
        levels.append(torch.cat((boxes, exact[..., 4:].sigmoid()), dim=-1).flatten(1, 3))
    return torch.cat(levels, dim=1)


@dataclass(frozen=True)
class Postprocess:
    """Score threshold and non-maximum suppression; the defaults are those with which the papers measure mAP (YOLOv5).

    Attributes:
        confidence: boxes whose score = objectness * class is below are dropped, in [0, 1].
        iou: a box that overlaps a better one of its class by more is dropped, in [0, 1].
        limit: boxes kept per image.
        multi_label: a box may stand for several classes, each with its score; else for its best one alone.
        merge: a kept box becomes the mean of those it stands for (`geometry.nms.merged`).
    """

    confidence: float = 0.001
    iou: float = 0.6
    limit: int = 300
    multi_label: bool = True
    merge: bool = False

    def __post_init__(self) -> None:
        for name in ("confidence", "iou"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"postprocess.{name} is {getattr(self, name)}; expected a share in [0, 1]")

    def __call__(self, head_maps: HeadMaps) -> list[Detections]:
        """One `Detections` per image, in px of the input frames."""
        return [self.select(boxes) for boxes in decode(head_maps)]

    def select(self, boxes: Tensor) -> Detections:
        """The detections among the decoded boxes `[boxes, 5+K]` of one image."""
        scores = boxes[:, 5:] * boxes[:, 4:5]
        if not self.multi_label:
            best = scores.max(dim=1, keepdim=True)
            scores = torch.zeros_like(scores).scatter(1, best.indices, best.values)
        box, label = (scores > self.confidence).nonzero(as_tuple=True)
        score = scores[box, label]
        if len(score) > CANDIDATES:
            score, top = score.topk(CANDIDATES)
            box, label = box[top], label[top]
        xyxy = box_convert(boxes[box, :4], "cxcywh", "xyxy")
        keep = nms(xyxy, score, label, iou=self.iou, limit=self.limit)
        found = merged(xyxy, score, label, keep, iou=self.iou) if self.merge else xyxy[keep]
        return Detections(found, score[keep], label[keep])
