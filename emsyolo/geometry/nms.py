"""Non-maximum suppression of one image's boxes."""

from __future__ import annotations

from torch import Tensor
from torchvision.ops import batched_nms


def nms(boxes_xyxy: Tensor, scores: Tensor, labels: Tensor, *, iou: float, limit: int) -> Tensor:
    """Indices of the boxes that survive, best first: within a class, none overlaps a better one by more than `iou`.

    Args:
        boxes_xyxy: `[M, 4]` px.
        scores: `[M]`.
        labels: `[M]` int64; boxes of different classes do not suppress each other.
        iou: threshold in [0, 1].
        limit: at most so many are kept.
    """
    return batched_nms(boxes_xyxy, scores, labels, iou)[:limit]
