"""Shapes, T and refusals of the detector."""

from __future__ import annotations

import copy

import pytest
import torch

from emsyolo.model.detector import Detector

SMALL = ["model.width=0.125"]
MODELS = [
    "ems_resnet10", "ems_resnet18", "ems_resnet34", "ems_resnet34_cat", "ms_resnet18", "ms_resnet34",
    "sew_resnet18", "sew_resnet34", "ann_resnet18", "ann_resnet34",
]  # fmt: skip


def awake(detector: Detector) -> Detector:
    """Ready to evaluate, with running statistics under which neurons fire."""
    detector.train()
    for _ in range(20):
        detector(torch.rand(1, 2, 3, 32, 64))
    return detector.eval()


def test_any_t_after_building(tiny_detector: Detector) -> None:
    awake(tiny_detector)
    frames = torch.rand(1, 1, 3, 32, 64)
    outputs = {}
    for steps in (1, 2, 5):
        tiny_detector.T = steps
        outputs[steps] = tiny_detector(frames).maps[0]
    assert not torch.equal(outputs[1], outputs[5])
    tiny_detector.T = 5
    torch.testing.assert_close(tiny_detector(frames.repeat(5, 1, 1, 1, 1)).maps[0], outputs[5])


def test_no_state_is_kept_between_calls(tiny_detector: Detector) -> None:
    awake(tiny_detector)
    frames = torch.rand(1, 2, 3, 32, 64)
    first = tiny_detector(frames).maps[1]
    tiny_detector(torch.rand(1, 3, 3, 64, 32))
    assert torch.equal(tiny_detector(frames).maps[1], first)
    assert torch.equal(copy.deepcopy(tiny_detector)(frames).maps[1], first)


def test_images_of_a_batch_do_not_mix(tiny_detector: Detector) -> None:
    awake(tiny_detector)
    frames = torch.rand(2, 3, 3, 32, 64)
    together = tiny_detector(frames).maps[0]
    torch.testing.assert_close(tiny_detector(frames[:, 1:2]).maps[0][0], together[1])


def test_wrong_frames_are_refused(tiny_detector: Detector) -> None:
    with pytest.raises(ValueError, match=r"T0 = 1 .* or T0 = T = 2"):
        tiny_detector(torch.rand(3, 1, 3, 32, 64))
    with pytest.raises(ValueError, match=r"frames are 32x40 px .*multiples of 32"):
        tiny_detector(torch.rand(1, 1, 3, 32, 40))
