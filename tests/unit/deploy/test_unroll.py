"""Integer spikes as planes of 0 and 1."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from emsyolo.app import build_detector
from emsyolo.deploy.inference import for_inference
from emsyolo.deploy.unroll import Planes, UnrolledConv2d, unrolled
from emsyolo.evaluator.activity import ActivityMeter
from emsyolo.model.detector import Detector
from emsyolo.neuron.ilif import ILIF


def trained_like(model: str, *overrides: str) -> Detector:
    torch.manual_seed(0)
    detector = build_detector(model, 3, 1, list(overrides)).eval()
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.2, 0.6)
            module.weight.data.uniform_(0.6, 1.2)
            module.bias.data.normal_(0.3, 0.3)
    return detector


def test_planes_by_hand() -> None:
    x = torch.tensor([0.0, 1.0, 3.0]).view(1, 3, 1, 1)
    assert Planes(3)(x).flatten(1).tolist() == [[0, 1, 1], [0, 0, 1], [0, 0, 1]]


def test_the_bias_is_added_once() -> None:
    convolution = nn.Conv2d(4, 6, 3, stride=2, padding=1).double()
    x = torch.randint(0, 5, (2, 4, 6, 8)).double()
    torch.testing.assert_close(UnrolledConv2d(convolution, 4)(x), convolution(x), rtol=0, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "overrides", "impure"),
    [
        ("ems_small_ilif", [], {"backbone.stem.0"}),
        ("ems_resnet10", ["model.width=0.25", "neuron=ilif"], {"backbone.stem.0", "head.maps.0", "head.maps.1"}),
        ("spike_yolo_n", [], {"backbone.stages.0.0.0"}),
    ],
)
def test_the_unrolled_network_is_the_same_and_pure(model: str, overrides: list[str], impure: set[str]) -> None:
    detector, frames, cpu = trained_like(model, *overrides), torch.rand(1, 2, 3, 64, 96), torch.device("cpu")
    plain, planes = for_inference(detector, cpu), for_inference(detector, cpu, unroll=True)
    sent: list[list[torch.Tensor]] = [[], []]
    for kept, network in zip(sent, (plain, planes), strict=True):
        for module in network.modules():
            if isinstance(module, ILIF):
                module.register_forward_hook(lambda _, x, y, kept=kept: kept.append(torch.Tensor(y)))
    reports = []
    with torch.no_grad():
        for network in (plain, planes):
            with ActivityMeter(network) as meter:
                network(frames)
            meter.step(2)
            reports.append(meter.report())
        expected, found = plain(frames).candidates(), planes(frames).candidates()
    assert all(torch.equal(a, b) for a, b in zip(*sent, strict=True))
    assert any(y.max() > 1 for y in sent[0])
    torch.testing.assert_close(found.boxes_xyxy, expected.boxes_xyxy, rtol=4e-6, atol=1e-4)  # float32
    torch.testing.assert_close(found.scores, expected.scores, rtol=0, atol=1e-6)
    assert {row["name"].removesuffix(".convolution") for row in reports[1]["impure"]} == impure
    assert reports[1]["energy"]["snn_mJ"] == pytest.approx(reports[0]["energy"]["snn_mJ"], rel=1e-6)
    assert reports[1]["firing_rate"] == pytest.approx(reports[0]["firing_rate"])


def test_networks_without_integers_are_refused() -> None:
    with pytest.raises(ValueError, match="unroll=true: the detector has no integer-valued neuron"):
        unrolled(build_detector("ems_resnet10", 2, 2, ["model.width=0.125"]))
