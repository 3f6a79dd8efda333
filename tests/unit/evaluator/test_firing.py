"""Where neurons fire, on networks small enough for a hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from emsyolo.evaluator.activity import ActivityMeter
from emsyolo.evaluator.firing import ALL, glimpses
from emsyolo.model.detector import Detector
from emsyolo.neuron.neuron import spikes_of


def run(detector: Detector, frames: Tensor, times: list[int], **more: int) -> list[dict[str, Tensor]]:
    with torch.inference_mode():
        return [seen.firing for seen in glimpses(detector.eval(), frames, times, size_hw=(4, 6), **more)]


def test_maps_after_every_step_are_those_of_the_detector(tiny_detector: Detector) -> None:
    tiny_detector.eval()
    frames = torch.rand(1, 3, 3, 64, 96)
    with torch.inference_mode():
        seen = list(glimpses(tiny_detector, frames, [1, 2], size_hw=(4, 6)))
        for steps, glimpse in zip((1, 2), seen, strict=True):
            expected = tiny_detector(frames, [range(steps)])
            for mine, theirs in zip(glimpse.maps.maps, expected.maps, strict=True):
                torch.testing.assert_close(mine, theirs)
    assert not any(module._forward_hooks for module in tiny_detector.modules())


def test_all_layers_together_have_the_networks_firing_rate(tiny_detector: Detector) -> None:
    tiny_detector.eval()
    frames = torch.rand(1, 2, 3, 64, 96)
    with torch.inference_mode(), ActivityMeter(tiny_detector) as meter:
        tiny_detector(frames)
    meter.step(2)
    (firing,) = run(tiny_detector, frames, [2])
    assert next(iter(firing)) == ALL
    assert all(values.shape == (2, 4, 6) for values in firing.values())
    # Areas that divide evenly lose nothing; the coarsest map of 2x3 is repeated.
    assert float(firing[ALL].mean()) == pytest.approx(meter.activity().firing_rate, rel=1e-5)


def test_layers_are_spread_from_the_first_to_the_last(tiny_detector: Detector) -> None:
    neurons = [name for name, module in tiny_detector.named_modules() if spikes_of(module) is not None]
    (firing,) = run(tiny_detector, torch.rand(1, 1, 3, 64, 96), [1], shown=3)
    assert len(firing) == 4
    assert set(firing) - {ALL} <= set(neurons)


class Blinking(nn.Module):
    """Sends 2 in the first step and nothing after it, in the left half."""

    spikes = None

    def forward(self, x: Tensor) -> Tensor:
        out = torch.zeros_like(x)
        out[0, ..., : x.shape[-1] // 2] = 2
        return out


def test_firing_is_the_mean_up_to_the_step(tiny_detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    name, neuron = next((n, m) for n, m in tiny_detector.named_modules() if spikes_of(m) is not None)
    monkeypatch.setattr(neuron, "forward", Blinking().forward)
    one, two = run(tiny_detector, torch.rand(1, 1, 3, 64, 96), [1, 2], shown=1)
    left = torch.tensor([1.0, 1, 1, 0, 0, 0]).expand(1, 4, 6)
    torch.testing.assert_close(one[name], 2 * left)
    torch.testing.assert_close(two[name], left)
