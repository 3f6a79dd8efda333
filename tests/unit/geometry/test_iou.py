"""Complete IoU."""

from __future__ import annotations

import torch
from torchvision.ops import complete_box_iou_loss

from emsyolo.geometry.iou import complete_iou


def test_is_torchvisions() -> None:
    torch.manual_seed(0)
    corners = torch.rand(2, 200, 2, dtype=torch.float64) * 50
    boxes, others = torch.cat((corners, corners + 1 + torch.rand_like(corners) * 40), dim=-1)
    torch.testing.assert_close(complete_iou(boxes, others), 1 - complete_box_iou_loss(boxes, others), rtol=0, atol=1e-6)
    torch.testing.assert_close(complete_iou(boxes, boxes), torch.ones(200, dtype=torch.float64), rtol=0, atol=1e-6)
