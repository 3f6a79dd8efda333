"""Layers that are computed anew from bits."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from emsyolo.app import build_detector
from emsyolo.evaluator.bytes_kept import bytes_kept
from emsyolo.layer.from_spikes import FromSpikes
from emsyolo.layer.multistep import MultiStep
from emsyolo.layer.rep import RepConv
from emsyolo.layer.tdbn import TdBN
from emsyolo.neuron.ilif import ILIF
from emsyolo.neuron.memory import set_memory


@pytest.mark.parametrize("autocast", [False, True])
def test_gradients_and_statistics_are_the_same(autocast: bool) -> None:
    torch.manual_seed(0)
    original = MultiStep(
        ILIF(4),
        FromSpikes(nn.Conv2d(3, 6, 1, bias=False), TdBN(6, 1.0)),
        ILIF(4),
        FromSpikes(RepConv(6, 4, separable=True), TdBN(4, 1.0)),
    ).train()
    x, found = torch.randn(3, 2, 3, 8, 6) * 2, []
    for memory in ("plain", "packed"):
        layers = copy.deepcopy(original)
        for node in layers[::2]:
            node.keep(memory)
            node.normalises = lambda x: False  # in half precision that rounds otherwise, and only without bits
        leaf = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            out = layers(leaf)
        out.float().square().sum().backward()
        found.append([leaf.grad, *(p.grad for p in layers.parameters()), *layers.buffers()])
    for plain, packed in zip(*found, strict=True):
        torch.testing.assert_close(packed, plain, rtol=1e-5, atol=1e-6)


def test_little_is_kept_of_spike_yolo() -> None:
    detector, frames = build_detector("spike_yolo_n", 80, 1).train(), torch.rand(1, 2, 3, 320, 320)
    kept = {}
    for memory in ("plain", "packed", "recompute"):
        set_memory(detector, memory)  # type: ignore[arg-type]
        kept[memory] = bytes_kept(detector, lambda: detector(frames))
    assert kept["packed"] < 0.25 * kept["plain"]
    assert kept["recompute"] < 0.1 * kept["plain"]
