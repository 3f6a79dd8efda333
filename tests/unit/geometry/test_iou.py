"""Complete IoU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.ops import complete_box_iou_loss

from emsyolo.geometry.iou import complete_iou

DEGENERATE = [
    ([0, 0, 4, 4], [4, 0, 8, 4]),  # they touch along a side
    ([0, 0, 4, 4], [4, 4, 8, 8]),  # in a corner
    ([0, 0, 4, 4], [9, 9, 12, 11]),  # apart
    ([0, 0, 9, 9], [2, 3, 5, 7]),  # one inside the other
    ([1, 2, 5, 9], [1, 2, 5, 9]),  # the same
    ([2, 3, 5, 7], [2, 3, 2, 3.5]),  # no width
    ([2, 3, 5, 7], [3, 4, 4, 4]),  # no height
    ([2, 3, 5, 7], [3, 4, 3, 4]),  # neither
]


def pairs(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    corners = torch.rand(2, 200, 2, dtype=torch.float64) * 50
    boxes, others = torch.cat((corners, corners + 1 + torch.rand_like(corners) * 40), dim=-1)
    ends = torch.tensor(DEGENERATE, dtype=torch.float64).unbind(dim=1)
    return torch.cat((boxes, ends[0])).to(dtype), torch.cat((others, ends[1])).to(dtype)


def test_is_torchvisions() -> None:
    boxes, others = (x[:200] for x in pairs(torch.float64))
    torch.testing.assert_close(complete_iou(boxes, others), 1 - complete_box_iou_loss(boxes, others), rtol=0, atol=1e-6)
    torch.testing.assert_close(complete_iou(boxes, boxes), torch.ones(200, dtype=torch.float64), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_lift_values_and_gradients_are_torchvisions(dtype: torch.dtype) -> None:
    both = [x.requires_grad_() for x in pairs(dtype)]
    close = {"rtol": 1e-5, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-12}
    for boxes, others in (both, both[::-1]):
        mine, theirs = 1 - complete_iou(boxes, others, lift=0), complete_box_iou_loss(boxes, others)
        torch.testing.assert_close(mine, theirs, equal_nan=True, **close)
        for one, other in zip(*(torch.autograd.grad(x.sum(), both) for x in (mine, theirs)), strict=True):
            torch.testing.assert_close(one, other, equal_nan=True, **close)
