"""Complete IoU of pairs of boxes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

EPS = 1e-7


def complete_iou(boxes: Tensor, others: Tensor, *, lift: float = EPS) -> Tensor:
    """CIoU of pairs: IoU less the distance of the centres and the difference of the aspects, at most 1.

    Zheng et al., AAAI 2020; no gradient flows into the weight of the aspects, nor where boxes only touch. As YOLOv8
    computes it, heights gain 1e-7; with `lift` 0 it is 1 - torchvision's `complete_box_iou_loss`, without the masks by
    which that waits for a device.

    Args:
        boxes, others: `[..., 4]` xyxy in one unit, in which the boxes are much larger than 1e-7.
        lift: added to all heights.

    Returns:
        `[...]`.
    """
    x0, y0, x1, y1 = boxes.unbind(dim=-1)
    u0, v0, u1, v1 = others.unbind(dim=-1)
    width, height, other_width, other_height = x1 - x0, y1 - y0 + lift, u1 - u0, v1 - v0 + lift
    inter = (torch.minimum(x1, u1) - torch.maximum(x0, u0)).relu() * (
        torch.minimum(y1, v1) - torch.maximum(y0, v0)
    ).relu()
    iou = inter / (width * height + other_width * other_height - inter + EPS)
    around = (torch.maximum(x1, u1) - torch.minimum(x0, u0)).square() + (
        torch.maximum(y1, v1) - torch.minimum(y0, v0)
    ).square()
    apart = ((u0 + u1 - x0 - x1).square() + (v0 + v1 - y0 - y1).square()) / 4
    aspects = 4 / math.pi**2 * (torch.atan(other_width / other_height) - torch.atan(width / height)).square()
    with torch.no_grad():
        weight = aspects / (aspects - iou + (1 + EPS))
    return iou - (apart / (around + EPS) + aspects * weight)
