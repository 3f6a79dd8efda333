"""Decoding and suppression by hand."""

from __future__ import annotations

import pytest
import torch

from emsyolo.geometry.anchors import AnchorLayout
from emsyolo.geometry.nms import merged
from emsyolo.model.postprocess import Postprocess, decode
from emsyolo.types import HeadMaps


def maps() -> HeadMaps:
    """Two levels of a 32x64 image, one anchor each, two classes; nothing is seen but at three places."""
    fine, coarse = torch.full((1, 1, 2, 4, 7), -20.0), torch.full((1, 1, 1, 2, 7), -20.0)
    for raw in (fine, coarse):
        raw[..., :4] = 0.0
    fine[0, 0, 0, 1, 4:] = torch.tensor([3.0, 3.0, 1.0])
    fine[0, 0, 1, 1, 4:] = torch.tensor([2.0, 3.0, -20.0])
    coarse[0, 0, 0, 1, 4:] = torch.tensor([1.0, -20.0, 4.0])
    anchors = (torch.tensor([[20.0, 80.0]]), torch.tensor([[30.0, 30.0]]))
    return HeadMaps((fine, coarse), AnchorLayout((16, 32), anchors, 2))


def test_boxes_are_ordered_level_anchor_row_column() -> None:
    boxes = decode(maps())
    assert boxes.shape == (1, 8 + 2, 7)
    assert boxes[0, 1, :4].tolist() == [24, 8, 20, 80]
    assert boxes[0, 9, :4].tolist() == [48, 16, 30, 30]
    assert boxes[0, 1, 4].item() == pytest.approx(torch.tensor(3.0).sigmoid().item())


def test_suppression_within_a_class_alone() -> None:
    (found,) = Postprocess(confidence=0.1, iou=0.5)(maps())
    s = torch.sigmoid
    three, one, four = (s(torch.tensor(v)).item() for v in (3.0, 1.0, 4.0))
    # The boxes of rows 0 and 1 overlap by 64/96 in class 0: the second goes. The first also stands for class 1.
    assert found.labels.tolist() == [0, 1, 1]
    assert found.scores.tolist() == pytest.approx([three * three, one * four, three * one])
    assert found.boxes_xyxy[0].tolist() == [14, -32, 34, 48]


def test_a_merged_box_is_the_mean_of_those_it_stands_for_weighted_by_score() -> None:
    (found,) = Postprocess(confidence=0.1, iou=0.5, merge=True)(maps())
    three, two = (torch.sigmoid(torch.tensor(v)).item() for v in (3.0, 2.0))
    # The boxes of rows 0 and 1 lie 16 px apart in y; only in class 0 does the second pass the threshold.
    share = three * two / (three * three + three * two)
    assert found.labels.tolist() == [0, 1, 1]
    assert found.boxes_xyxy[0].tolist() == pytest.approx([14, -32 + 16 * share, 34, 48 + 16 * share])
    assert found.boxes_xyxy[2].tolist() == pytest.approx([14, -32, 34, 48])


def test_a_box_without_area_is_left_as_it_is() -> None:
    boxes, one = torch.tensor([[3.0, 4, 3, 9], [0, 0, 8, 8]]), torch.ones(2)
    assert torch.equal(merged(boxes, one, one, torch.tensor([0, 1]), iou=0.5), boxes)


def test_single_label_limit_and_threshold() -> None:
    assert Postprocess(confidence=0.1, iou=0.9, multi_label=False)(maps())[0].labels.tolist() == [0, 0, 1]
    assert len(Postprocess(confidence=0.1, iou=0.9, limit=1)(maps())[0]) == 1
    assert len(Postprocess(confidence=0.999)(maps())[0]) == 0


def test_shares_outside_the_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"postprocess\.iou is 60"):
        Postprocess(iou=60)
