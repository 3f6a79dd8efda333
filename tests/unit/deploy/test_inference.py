"""Detectors made ready for inference."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from emsyolo.app import build_detector
from emsyolo.deploy.inference import for_inference
from emsyolo.deploy.int8 import available
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


@pytest.mark.parametrize("model", ["ems_resnet10", "ems_resnet34_cat", "ms_resnet18", "sew_resnet18", "ann_resnet18"])
def test_folding_leaves_the_maps_as_they_are(model: str) -> None:
    detector, frames = trained_like(model), torch.rand(1, 2, 3, 64, 96, dtype=torch.float64)
    names = [name for name, one in detector.named_modules() if isinstance(one, nn.Conv2d)]
    ready = for_inference(detector.float(), CPU)
    assert not [one for one in ready.modules() if isinstance(one, nn.BatchNorm2d)]
    assert [one for one in detector.modules() if isinstance(one, nn.BatchNorm2d)]
    assert [name for name, one in ready.named_modules() if isinstance(one, nn.Conv2d)] == names
    # In float64, where no potential is so close to the threshold that rounding decides.
    with torch.no_grad():
        for mine, other in zip(ready.double()(frames).maps, detector.double()(frames).maps, strict=True):
            torch.testing.assert_close(mine, other, rtol=0, atol=2e-5)


def test_half_precision_keeps_the_last_convolutions_exact() -> None:
    detector = trained_like("ems_resnet10").float()
    ready = for_inference(detector, CPU, precision="bf16")
    seen: list[torch.dtype] = []
    ready.backbone.stages[0].register_forward_hook(lambda module, args, out: seen.append(out.dtype))
    with torch.no_grad():
        maps = ready(torch.rand(1, 2, 3, 64, 96)).maps
    assert seen == [torch.bfloat16]
    assert {one.dtype for one in maps} == {torch.float32}


def test_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="precision is 'int4'; expected one of 32, bf16, 16, int8, int8-bf16, auto"):
        for_inference(trained_like("ems_resnet10"), CPU, precision="int4")
