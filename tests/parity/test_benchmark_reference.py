"""What the benchmarks compare with computes what is compared: the same maps and the same gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from reference import on_spikingjelly, plainly, step_by_step

from emsyolo.app import build_detector
from emsyolo.model.detector import Detector


@pytest.mark.parametrize("other", [step_by_step, on_spikingjelly])
@pytest.mark.parametrize("training", [False, True])
def test_maps_and_gradients_are_ours(other: Callable[[Detector], Detector], training: bool) -> None:
    results = []
    for change in (lambda one: one, other):
        torch.manual_seed(0)
        detector = change(build_detector("ems_resnet10", 3, 3, ["model.width=0.125"])).double().train(training)
        torch.manual_seed(1)
        maps = detector(torch.rand(1, 2, 3, 64, 96, dtype=torch.float64)).maps
        sum(one.square().mean() for one in maps).backward()
        results.append((*maps, *(p.grad for p in detector.parameters())))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_integer_valued_neurons_are_ours() -> None:
    results = []
    for change in (lambda one: one, plainly):
        torch.manual_seed(0)
        detector = change(build_detector("spike_yolo_n", 3, 2, ["model.width=0.125"])).double().train()
        torch.manual_seed(1)
        maps = detector(torch.rand(1, 2, 3, 64, 96, dtype=torch.float64)).maps
        sum(one.square().mean() for one in maps).backward()
        results.append((*maps, *(p.grad for p in detector.parameters())))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
