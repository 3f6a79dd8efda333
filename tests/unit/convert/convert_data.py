"""What the tests of the conversion share."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from emsyolo.app import build_detector
from emsyolo.model.detector import Detector
from emsyolo.types import HeadMaps

TYPED = {
    "ann_small without anchors": ["head=anchor_free"],
    "spike_yolo_n": ["neuron=relu", "model.width=0.1"],
    "ann_small by concatenation": ["model.block._target_=emsyolo.model.block.ems_cat"],
    "spiking_yolo": ["model.anchors=[[[10,14],[23,27],[37,58],[81,82],[135,169]]]"],
}


def trained_like(model: str, seed: int = 0) -> Detector:
    """A detector with running statistics, weights and biases that are not those of the start."""
    torch.manual_seed(seed)
    detector = build_detector(model.split(" ")[0], 3, 1, TYPED.get(model, ())).eval()
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.2, 0.6)
            module.weight.data.uniform_(0.6, 1.4)
            module.bias.data.normal_(0, 0.3)
    return detector


def frames(seed: int = 1) -> Tensor:
    return torch.rand(1, 2, 3, 64, 96, generator=torch.Generator().manual_seed(seed))


def simulate(spiking: Detector, x: Tensor, times: list[int], *, chunk: int = 16) -> Iterator[tuple[int, HeadMaps]]:
    """The maps after some steps, from one pass."""
    spiking.T, spiking.chunk = times[-1], chunk
    with torch.no_grad():
        yield from zip(times, spiking.read(x, [range(t) for t in times]), strict=True)
