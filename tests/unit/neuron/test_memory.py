"""What is kept for the backward pass, and that the gradients do not depend on it."""

from __future__ import annotations

import copy

import pytest
import torch

from emsyolo.app import build_detector
from emsyolo.evaluator.bytes_kept import bytes_kept
from emsyolo.neuron.lif import LIF
from emsyolo.neuron.memory import set_memory

MODELS = ["ems_small", "ms_resnet18", "sew_resnet18"]


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_gradients_and_statistics_are_the_same_in_all_three(model: str, autocast: bool) -> None:
    torch.manual_seed(0)
    original = build_detector(model, 3, 5, ["model.width=0.25"]).train()
    frames = torch.rand(1, 2, 3, 64, 96)
    kept, states = {}, {}
    for memory in ("plain", "packed", "recompute"):
        detector = copy.deepcopy(original)
        set_memory(detector, memory)  # type: ignore[arg-type]
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            kept[memory] = bytes_kept(detector, lambda: detector(frames))  # noqa: B023
            detector.load_state_dict(original.state_dict())
            loss = sum(one.square().mean() for one in detector(frames).maps)
        loss.backward()
        states[memory] = {name: p.grad for name, p in detector.named_parameters()} | dict(detector.named_buffers())
    for name, expected in states["plain"].items():
        for other in ("packed", "recompute"):
            torch.testing.assert_close(states[other][name], expected, rtol=1e-6, atol=1e-9, msg=f"{other}: {name}")
    assert kept["packed"] < kept["plain"]
    assert kept["recompute"] < kept["packed"] / 2


def test_published_size_fits_its_bounds() -> None:
    # EMS-ResNet34, T = 4, 320x320, a batch of 1 for the speed of the test: half of 350 and 80 MB for 2 images.
    detector = build_detector("ems_resnet34", 80, 4).train()
    for memory, bound in (("packed", 175e6), ("recompute", 40e6)):
        set_memory(detector, memory)  # type: ignore[arg-type]
        assert bytes_kept(detector, lambda: detector(torch.rand(1, 1, 3, 320, 320))) <= bound


def test_unknown_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="memory is 'less'; expected one of plain, packed, recompute"):
        set_memory(build_detector("ems_small", 3, 2), "less")  # type: ignore[arg-type]


def test_every_network_can_be_recomputed_or_refuses() -> None:
    for model in ("ems_resnet10", "spiking_yolov3"):
        detector = build_detector(model, 3, 2, ["model.width=0.125", "memory=recompute"])
        assert any(getattr(one, "recompute", False) for one in detector.modules())
    usual = build_detector("ems_resnet10", 3, 2, ["model.width=0.125"])
    assert not any(getattr(one, "recompute", False) for one in usual.modules())
    with pytest.raises(ValueError, match="memory=recompute: this network is not built of stages"):
        set_memory(torch.nn.Sequential(LIF()), "recompute")
