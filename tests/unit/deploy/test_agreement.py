"""How near an export comes to its detector, and that to itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from emsyolo.app.export import _compare_with_rounding
from emsyolo.deploy.export import DRAWS, Agreement, agreement, own_agreement
from emsyolo.model.postprocess import Postprocess
from emsyolo.types import Candidates

POSTPROCESS = Postprocess(confidence=0.5, merge=False)


class Steps:
    """Finds one box in each image, 20 px further right where the first pixel is at least 0.5: a spike, if ever."""

    def __call__(self, frames: Tensor) -> Any:
        right = 20.0 * (frames[0, :, 0, 0, 0] >= 0.5)
        zero = torch.zeros_like(right)
        boxes = torch.stack([right, zero, right + 10, zero + 10], dim=-1)[:, None]
        found = Candidates(boxes, torch.ones(len(boxes), 1, 1))
        return type("Maps", (), {"candidates": lambda self: found})()


def test_an_image_beside_the_threshold_is_not_the_same_under_noise() -> None:
    detector, frames = Steps(), torch.tensor([0.5, 0.9, 0.1]).view(1, 3, 1, 1, 1)
    expected = detector(frames).candidates()
    images, detections = own_agreement(detector, frames, expected, POSTPROCESS)  # type: ignore[arg-type]
    assert (images.images, images.same_images) == (3, 2)
    assert (detections.detections, detections.alike) == (3, 2)
    far = own_agreement(detector, frames[:, 1:], detector(frames[:, 1:]).candidates(), POSTPROCESS)  # type: ignore[arg-type]
    assert [one.near for one in far] == [True, True]
    assert DRAWS > 1


def test_a_graph_may_be_as_far_as_the_detector_from_itself_and_no_farther() -> None:
    own = Agreement(20.0, 9, 7, 3, 2)
    _compare_with_rounding(Path("a.onnx"), Agreement(20.0, 9, 7, 3, 2), own, own)
    for worse in (Agreement(20.0, 9, 7, 3, 1), Agreement(20.0, 9, 6, 3, 2)):
        with pytest.raises(ValueError, match=r"a\.onnx: boxes of . of 3 images .* down to 2 images and 7 detections"):
            _compare_with_rounding(Path("a.onnx"), worse, own, own)
    nowhere = Agreement(20.0, 9, 0, 3, 0)
    with pytest.raises(ValueError, match="boxes of 0 of 3 images"):
        _compare_with_rounding(Path("a.onnx"), nowhere, nowhere, nowhere)


def test_differences_are_counted_by_image() -> None:
    boxes = torch.tensor([[[0.0, 0, 10, 10]], [[5.0, 5, 20, 20]]])
    expected = Candidates(boxes, torch.full((2, 1, 1), 0.9))
    moved = Candidates(boxes + torch.tensor([0.0, 3.0]).view(2, 1, 1), expected.scores)
    found = agreement(moved, expected, POSTPROCESS)
    assert (found.detections, found.alike, found.images, found.same_images) == (2, 1, 2, 1)
    assert found.apart == pytest.approx(3, abs=0.01)
    assert agreement(expected, expected, POSTPROCESS).near
