"""Suppression against torchvision's, class by class."""

from __future__ import annotations

import pytest
import torch
from torchvision.ops import nms as torchvisions

from emsyolo.geometry.nms import nms


def by_class(boxes: torch.Tensor, scores: torch.Tensor, labels: torch.Tensor, iou: float) -> torch.Tensor:
    kept = [
        places[torchvisions(boxes[places], scores[places], iou)]
        for places in ((labels == label).nonzero().flatten() for label in labels.unique())
    ]
    kept = torch.cat(kept).sort().values
    return kept[scores[kept].argsort(descending=True, stable=True)]


@pytest.mark.parametrize(("count", "classes", "limit"), [(40, 1, 300), (900, 3, 300), (3000, 20, 30), (3000, 2, 2000)])
def test_each_class_is_suppressed_alone_and_the_best_are_kept(count: int, classes: int, limit: int) -> None:
    centre = torch.rand(8, 2)[torch.randint(8, (count,))] * 300 - 100 + 12 * torch.randn(count, 2)
    half = 10 + 30 * torch.rand(count, 2)
    boxes, labels = torch.cat((centre - half, centre + half), dim=1), torch.randint(classes, (count,))
    scores = (torch.rand(count) * 200).round() / 200  # with ties
    keep = nms(boxes, scores, labels, iou=0.6, limit=limit)
    assert torch.equal(keep, by_class(boxes, scores, labels, 0.6)[:limit])


def test_a_box_that_means_nothing_disturbs_no_other() -> None:
    nowhere, everywhere = [float("nan")] * 4, [-float("inf")] * 2 + [float("inf")] * 2
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], nowhere, everywhere])
    keep = nms(boxes, torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.tensor([1, 1, 0, 0]), iou=0.5, limit=10)
    assert keep.tolist()[:1] == [0]
    assert 1 not in keep.tolist()


def test_nothing_gives_nothing() -> None:
    none = torch.empty(0)
    assert len(nms(none.view(0, 4), none, none.long(), iou=0.5, limit=10)) == 0
