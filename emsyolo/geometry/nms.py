"""Non-maximum suppression of one image's boxes, on the host."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import box_iou
from torchvision.ops import nms as suppressed

FAR_PX = 1e6  # no box that means something reaches as far
FIRST = 4  # times the limit: boxes that are looked at first


def nms(boxes_xyxy: Tensor, scores: Tensor, labels: Tensor, *, iou: float, limit: int) -> Tensor:
    """Indices of the boxes that survive, best first: within a class, none overlaps a better one by more than `iou`.

    Classes are moved apart in float64, where no coordinate loses a digit that counts. Only as many of the best boxes
    are looked at as the limit asks for: worse ones change nothing about better ones.

    Args:
        boxes_xyxy: `[M, 4]` px.
        scores: `[M]`.
        labels: `[M]` int64; boxes of different classes do not suppress each other.
        iou: threshold in [0, 1].
        limit: the largest number that is kept.
    """
    best = scores.sort(descending=True, stable=True).indices
    if not len(best):
        return best
    exact = boxes_xyxy.double().nan_to_num().clamp(-FAR_PX, FAR_PX)
    exact = exact + (labels * (exact.max() - exact.min() + 1))[:, None]
    count = FIRST * limit
    while True:
        first = best[:count]
        keep = suppressed(exact[first], scores[first].double(), iou)[:limit]
        if len(keep) == limit or count >= len(best):
            return first[keep]
        count *= 4


def merged(boxes_xyxy: Tensor, scores: Tensor, labels: Tensor, keep: Tensor, *, iou: float) -> Tensor:
    """The boxes of `keep`, each the mean of all boxes of its class that overlap it by more than `iou`, itself included.

    Weighted by score. Several cells and anchors see the same object; their mean is steadier than the best of them.
    YOLOv5's merge-NMS.

    Args:
        boxes_xyxy, scores, labels, iou: as for `nms`.
        keep: indices that `nms` gave, `[k]`.

    Returns:
        `[k, 4]` px.
    """
    near = (box_iou(boxes_xyxy[keep], boxes_xyxy) > iou) & (labels[keep, None] == labels)
    weight = near * scores
    total = weight.sum(dim=1, keepdim=True)
    # A box without area overlaps nothing, not even itself.
    return torch.where(total > 0, weight @ boxes_xyxy / total, boxes_xyxy[keep])
