"""SpikeYOLO and heads without anchors on other backbones."""

from __future__ import annotations

import pytest
import torch
from hydra.errors import InstantiationException

from emsyolo.app import build_detector
from emsyolo.loss.point import PointLoss
from emsyolo.types import Targets


def test_any_width_depth_steps_and_levels() -> None:
    detector = build_detector(
        "spike_yolo_n", 3, 2, ["model.width=0.07", "model.depth=0.1", "neuron.levels=2", "model.last_ratio=3"]
    )
    maps = detector(torch.rand(1, 2, 3, 64, 96))
    assert [tuple(level.shape) for level in maps.maps] == [(2, 67, 8, 12), (2, 67, 4, 6), (2, 67, 2, 3)]


@pytest.mark.parametrize("model", ["ems_resnet18", "ms_resnet18", "ann_resnet18", "sew_resnet18"])
def test_an_anchor_free_head_fits_every_backbone_and_learns(model: str) -> None:
    torch.manual_seed(0)
    detector = build_detector(model, 3, 1, ["model.width=0.125", "head=anchor_free", "memory=packed"]).train()
    maps = detector(torch.rand(1, 2, 3, 64, 96))
    assert [tuple(level.shape) for level in maps.maps] == [(2, 67, 4, 6), (2, 67, 2, 3)]
    box = Targets(torch.tensor([[8.0, 8, 40, 40]]), torch.tensor([1]), torch.tensor([False]))
    parts = PointLoss()(maps, [box, Targets.none()])
    parts["loss"].backward()
    assert all(torch.isfinite(value) for value in parts.values())
    assert detector.head.maps[0]["classes"].weight.grad.abs().sum() > 0
    assert all(torch.isfinite(p.grad).all() for p in detector.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model.width=0"], r"model\.width is 0"),
        (["model.last_ratio=0"], r"model\.last_ratio is 0"),
        (["model.repeats=[1,2]"], r"model\.repeats is \[1, 2\]"),
        (["neuron.levels=0"], r"neuron\.levels is 0"),
        (["head=anchor"], "SpikeYOLO has no anchors"),
    ],
)
def test_arguments_outside_their_range_are_refused(overrides: list[str], said: str) -> None:
    with pytest.raises((ValueError, InstantiationException), match=said):
        build_detector("spike_yolo_n", 3, 1, overrides)


def test_fewer_than_one_step_is_refused() -> None:
    with pytest.raises((ValueError, InstantiationException), match="T is 0"):
        build_detector("spike_yolo_n", 3, 0)
