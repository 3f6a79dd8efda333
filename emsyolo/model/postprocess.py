"""From head maps to detections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


def found_in_each(
    postprocess: Callable[[HeadMaps], list[Detections]], read_outs: Sequence[HeadMaps]
) -> list[list[Detections]]:
    """What a postprocess finds in each of several read-outs of a batch; it waits for the device as for one."""
    found = postprocess(HeadMaps.joined(read_outs))
    count = len(found) // len(read_outs)
    return [found[i * count : (i + 1) * count] for i in range(len(read_outs))]


@dataclass(frozen=True)
class Postprocess:
    """Score threshold and non-maximum suppression; the defaults are those with which the papers measure mAP (YOLOv5).

    The boxes of a batch that pass the threshold come to the host together; suppression, whose result has as many boxes
    as there happen to be, is done there. So a batch waits for its device twice: for their number, and for them.

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
        boxes, scores = candidates.boxes_xyxy, candidates.scores
        if not self.multi_label:
            best = scores.max(dim=2, keepdim=True)
            scores = torch.zeros_like(scores).scatter(2, best.indices, best.values)
        image, box, label = (scores > self.confidence).nonzero(as_tuple=True)
        # One tensor, so that it is one transfer; whole numbers below 2^24 are exact in float32.
        columns = (boxes[image, box], *(x[:, None].to(boxes.dtype) for x in (scores[image, box, label], label, image)))
        rows = torch.cat(columns, dim=1).cpu()
        counts = rows[:, -1].long().bincount(minlength=len(scores)).tolist()
        return [self._kept(one[:, :4], one[:, 4], one[:, 5].long()) for one in rows.split(counts)]

    def _kept(self, xyxy: Tensor, score: Tensor, label: Tensor) -> Detections:
        """The detections among the boxes `[M, 4]` xyxy of one image."""
        if len(score) > CANDIDATES:
            score, top = score.topk(CANDIDATES)
            xyxy, label = xyxy[top], label[top]
        keep = nms(xyxy, score, label, iou=self.iou, limit=self.limit)
        found = merged(xyxy, score, label, keep, iou=self.iou) if self.merge else xyxy[keep]
        return Detections(found, score[keep], label[keep])
