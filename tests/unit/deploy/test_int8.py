"""Convolutions of spikes in 8 bits."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from emsyolo.app import build_detector
from emsyolo.deploy.inference import for_inference
from emsyolo.deploy.int8 import Int8SpikeConv2d, available
from emsyolo.evaluator.activity import ActivityMeter
from emsyolo.model.detector import Detector

CPU = torch.device("cpu")


needs_int8 = pytest.mark.skipif(not available(), reason="this torch has no quantised convolution of oneDNN")


def trained_like(model: str) -> Detector:
    torch.manual_seed(0)
    detector = build_detector(model, 3, 3, ["model.width=0.25"]).eval()
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.2, 0.6)
            module.bias.data.normal_(0, 0.3)
    return detector.double()


@needs_int8
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("bias", [False, True])
def test_sums_in_8_bits_are_those_of_the_rounded_weights(bias: bool, groups: int) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(16, 24, 3, stride=2, padding=1, bias=bias, groups=groups)
    convolution.weight.data[3] = 0  # a channel that says nothing
    eight = Int8SpikeConv2d(convolution)
    step = convolution.weight.abs().amax(dim=(1, 2, 3), keepdim=True) / 127
    assert ((eight.weight - convolution.weight).abs() <= step * 0.5001).all()
    spikes = (torch.rand(4, 16, 9, 7) < 0.3).to(torch.uint8)
    expected = functional.conv2d(spikes.float(), eight.weight, convolution.bias, 2, 1, groups=groups)
    torch.testing.assert_close(eight(spikes), expected, rtol=1e-6, atol=1e-6)


@needs_int8
@pytest.mark.parametrize("precision", ["int8", "int8-bf16"])
@pytest.mark.parametrize("model", ["ems_resnet10", "sew_resnet18"])
def test_8_bits_take_every_convolution_of_spikes_and_no_other(model: str, precision: str) -> None:
    detector = trained_like(model).float()
    ready = for_inference(detector, CPU, precision=precision)
    eight = {name for name, one in ready.named_modules() if isinstance(one, Int8SpikeConv2d)}
    with ActivityMeter(detector) as meter, torch.no_grad():
        detector(frames := torch.rand(1, 2, 3, 64, 96))
        meter.step(2)
    spiking = {one.name for one in meter.activity().layers if one.binary}
    assert eight
    assert eight <= spiking
    if model == "ems_resnet10":
        assert eight == spiking
    with torch.no_grad():
        assert all(torch.isfinite(one).all() for one in ready(frames).maps)


@needs_int8
def test_8_bits_are_for_a_cpu() -> None:
    with pytest.raises(ValueError, match="precision is int8, which runs on a CPU; the device is meta"):
        for_inference(trained_like("ems_resnet10").float(), torch.device("meta"), precision="int8")
