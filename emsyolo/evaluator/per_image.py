"""How well one image was done."""

from __future__ import annotations

import torch
from torchvision.ops import box_iou

from emsyolo.types import Detections, Targets


def image_f1(found: Detections, truth: Targets, *, score_threshold: float, iou: float = 0.5) -> float:
    """The F1 score of one image in [0, 1]; 1 where there is nothing and nothing was found.

    A detection counts if it overlaps a true box of its class, not yet taken by a better one, by `iou` or more. Ignored
    boxes are neither missed nor found.

    Args:
        found: best first.
        truth: true boxes in the same px.
        score_threshold: detections with a lower score are left out.
        iou: in [0, 1].
    """
    sure = found.scores >= score_threshold
    boxes, labels = found.boxes_xyxy[sure], found.labels[sure]
    real = int((~truth.ignore).sum())
    if not len(truth) or not len(boxes):
        return float(not real and not len(boxes))
    overlap = box_iou(boxes, truth.boxes_xyxy) * (labels[:, None] == truth.labels)
    free = torch.ones(len(truth), dtype=torch.bool)
    right, counted = 0, 0
    for row in overlap:
        best = int((row * free).argmax())
        hit = bool(free[best] and row[best] >= iou)
        if hit:
            free[best] = False
        if hit and truth.ignore[best]:
            continue
        counted += 1
        right += hit
    return 2 * right / (counted + real) if counted + real else 1.0
