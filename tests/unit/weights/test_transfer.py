"""Weights of one training as the start of another."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from emsyolo.app import build_detector
from emsyolo.model.detector import Detector
from emsyolo.weights.checkpoint import Weights
from emsyolo.weights.transfer import transfer

TINY = ["model.width=0.125", "model.depth=10"]
ANN = ["neuron=relu"]


def weights_of(detector: Detector, *class_names: str) -> Weights:
    return Weights(Path("a.safetensors"), detector.state_dict(), {"class_names": list(class_names), "model": "x"})


def rows(detector: Detector, classes: int) -> torch.Tensor:
    """The first map's weight as `[A, 5 + K, C]`."""
    return detector.head.maps[0].weight.detach().flatten(1).unflatten(0, (3, 5 + classes))


def test_classes_are_matched_by_name_and_the_rest_stays_fresh() -> None:
    torch.manual_seed(0)
    there = build_detector("ems_resnet10", 3, 2, TINY)
    here = build_detector(
        "ems_resnet10", 2, 2, [*TINY, "model.anchors=[[[9,9],[8,8],[7,7]],[[20,20],[30,30],[40,40]]]"]
    )
    fresh = rows(here, 2).clone()
    done = transfer(here, weights_of(there, "ace", "nine", "ten"), ("ten", "king"))
    assert (done.kept, done.new) == (("ten",), ("king",))
    assert torch.equal(rows(here, 2)[:, :5], rows(there, 3)[:, :5])
    assert torch.equal(rows(here, 2)[:, 5], rows(there, 3)[:, 7])
    assert torch.equal(rows(here, 2)[:, 6], fresh[:, 6])
    assert here.head.anchors[0, 0].tolist() == [9, 9]
    assert torch.equal(here.backbone.stem[0].weight, there.backbone.stem[0].weight)


def test_another_number_of_anchors_takes_nothing_of_the_maps() -> None:
    there = build_detector("ems_resnet10", 2, 2, TINY)
    here = build_detector(
        "ems_resnet10",
        2,
        2,
        [*TINY, "model.anchors=[[[9,9],[8,8]],[[20,20],[30,30]]]", "model.anchors_per_level=[2,2]"],
    )
    fresh = here.head.maps[0].weight.clone()
    assert transfer(here, weights_of(there, "a", "b"), ("a", "b")).new == ("a", "b")
    assert torch.equal(here.head.maps[0].weight, fresh)


def test_another_width_is_refused() -> None:
    there = build_detector("ems_resnet10", 2, 2, TINY)
    here = build_detector("ems_resnet10", 2, 2, ["model.width=0.25", "model.depth=10"])
    with pytest.raises(ValueError, match="another architecture"):
        transfer(here, weights_of(there, "a", "b"), ("a", "b"))


def test_rescaled_relus_give_the_same_maps() -> None:
    """Which is why the scale is right for the sums, shortcuts and concatenations of every network."""
    torch.manual_seed(0)
    there = build_detector("ems_resnet10", 2, 1, [*TINY, *ANN]).double().train()
    frames = torch.rand(1, 2, 3, 64, 64, dtype=torch.float64)
    there(frames)  # running statistics of its own
    here = build_detector("ems_resnet10", 2, 1, [*TINY, *ANN]).double()
    transfer(here, weights_of(there, "a", "b"), ("a", "b"), scale=0.5)
    for module in (*there.modules(), *here.modules()):
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = 0.0
    for ours, theirs in zip(here.eval()(frames).maps, there.eval()(frames).maps, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_trained_decays_are_new_to_weights_without_them() -> None:
    there, here = (
        build_detector("ems_small_ilif", 2, 1, TINY),
        build_detector("ems_small_ilif", 2, 1, [*TINY, "neuron=pilif"]),
    )
    assert transfer(here, weights_of(there, "a", "b"), ("a", "b")).added == ("decays",)
    for ours, theirs in zip(
        here.eval()(frames := torch.rand(1, 1, 3, 64, 64)).maps, there.eval()(frames).maps, strict=True
    ):
        torch.testing.assert_close(ours, theirs)  # which start where the others stand
