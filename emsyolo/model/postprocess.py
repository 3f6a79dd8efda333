"""From head maps to detections."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from emsyolo.geometry.anchors import AnchorLayout
from emsyolo.geometry.nms import merged, nms
from emsyolo.types import Candidates, Detections, HeadMaps

CANDIDATES = 30_000  # per image before suppression, as YOLOv5: bounds the time of an untrained network


def decode(head_maps: HeadMaps) -> Tensor:
    """All boxes of a head with anchors in the published form, `[N, P, 5+K]`; see `AnchorLayout.decode`.

    Raises:
        ValueError: maps of another head.
    """
    layout = head_maps.layout
    if not isinstance(layout, AnchorLayout):
        raise ValueError(f"the maps are of {type(layout).__name__}; expected those of a head with anchors")
    return layout.decode(head_maps.maps)


@dataclass(frozen=True)
class Postprocess:
    """Score threshold and non-maximum suppression; the defaults are those with which the papers measure mAP (YOLOv5).

    Attributes:
        confidence: boxes whose score is below are dropped, in [0, 1].
        iou: a box that overlaps a better one of its class by more is dropped, in [0, 1].
        limit: boxes kept per image.
        multi_label: a box may stand for several classes, each with its score; else only for its best one.
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
        return self.select(head_maps.candidates())

    def select(self, candidates: Candidates) -> list[Detections]:
        """One `Detections` per image."""
        return [self._selected(*one) for one in zip(candidates.boxes_xyxy, candidates.scores, strict=True)]

    def _selected(self, boxes: Tensor, scores: Tensor) -> Detections:
        """The detections among the boxes `[P, 4]` xyxy and scores `[P, K]` of one image."""
        if not self.multi_label:
            best = scores.max(dim=1, keepdim=True)
            scores = torch.zeros_like(scores).scatter(1, best.indices, best.values)
        box, label = (scores > self.confidence).nonzero(as_tuple=True)
        score = scores[box, label]
        if len(score) > CANDIDATES:
            score, top = score.topk(CANDIDATES)
            box, label = box[top], label[top]
        xyxy = boxes[box]
        keep = nms(xyxy, score, label, iou=self.iou, limit=self.limit)
        found = merged(xyxy, score, label, keep, iou=self.iou) if self.merge else xyxy[keep]
        return Detections(found, score[keep], label[keep])
