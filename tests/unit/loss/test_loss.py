"""A loss and a head are a pair."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from emsyolo.geometry.anchors import AnchorLayout
from emsyolo.loss.loss import check_pair
from emsyolo.loss.yolo import YOLOLoss
from emsyolo.model.detector import Detector
from emsyolo.optimizer.recipe import Recipe
from emsyolo.trainer.module import DetectionModule, Teacher


class Points:
    """A layout of another head."""

    strides = (8,)
    num_classes = 2


def test_a_pair_that_does_not_fit_is_refused(tiny_detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    check_pair(YOLOLoss(), tiny_detector.head.layout)
    other: Any = Points()
    with pytest.raises(ValueError, match="loss YOLOLoss reads maps of AnchorLayout, the model's head gives Points"):
        check_pair(YOLOLoss(), other)
    monkeypatch.setattr(type(tiny_detector.head), "layout", other)
    recipe = Recipe(lambda groups: torch.optim.SGD(groups, 0.1))
    with pytest.raises(ValueError, match="expected a pair that fits"):
        DetectionModule(tiny_detector, YOLOLoss(), recipe)


def test_the_parts_are_named_with_those_of_a_teacher(tiny_detector: Detector) -> None:
    recipe = Recipe(lambda groups: torch.optim.SGD(groups, 0.1))
    alone = DetectionModule(tiny_detector, YOLOLoss(), recipe)
    assert alone.parts == ("box", "objectness", "class")
    taught = DetectionModule(tiny_detector, YOLOLoss(), recipe, Teacher(tiny_detector))
    assert taught.parts == ("box", "objectness", "class", "distillation")
    maps = tiny_detector(torch.rand(1, 1, 3, 64, 96))
    from emsyolo.types import Targets

    assert set(YOLOLoss()(maps, [Targets.none()], maps)) == {"loss", *taught.parts}


def test_layouts_say_in_what_they_differ() -> None:
    anchors = (torch.tensor([[10.0, 14.0]]), torch.tensor([[30.0, 30.0]]))
    mine = AnchorLayout((16, 32), anchors, 3)
    assert mine.differs(mine.with_classes(3)) == ""
    assert "type model.anchors=[[[20.0, 28.0]]" in mine.differs(AnchorLayout((16, 32), (anchors[0] * 2, anchors[1]), 3))
    assert mine.differs(AnchorLayout((8, 32), anchors, 3)) == "the strides [8, 32] and decode_yolov5"
    other: Any = Points()
    assert mine.differs(other) == "Points in place of anchors"
    assert mine.class_rows().tolist() == [[5], [6], [7]]
