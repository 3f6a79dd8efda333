"""Channels that lie last in memory stay there."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from emsyolo.app import build_detector
from emsyolo.layer.multistep import joined, over_steps


@pytest.mark.parametrize(
    ("model", "overrides"),
    [
        ("ems_resnet10", []),
        ("ems_resnet34_cat", ["model.depth=10", "temporal=conv_lstm"]),
        ("ems_small_ilif", []),
        ("spike_yolo_n", []),
        ("spiking_yolov3", ["neuron=lif"]),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_every_convolution_is_fed_in_the_order_of_its_weights(model: str, overrides: list[str], training: bool) -> None:
    detector = build_detector(model, 3, 2, ["model.width=0.125", *overrides]).train(training)
    detector.to(memory_format=torch.channels_last)
    seen: list[tuple[str, bool]] = []

    def watch(name: str) -> Any:
        def look(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            seen.append((name, args[0].is_contiguous(memory_format=torch.channels_last)))

        return look

    for name, module in detector.named_modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.register_forward_pre_hook(watch(name))
    with torch.set_grad_enabled(training):
        detector(torch.rand(1, 2, 3, 64, 96))
    (first, _), *rest = seen  # fed with frames, as they come
    assert first in ("backbone.stem.0", "backbone.stages.0.0.0", "backbone.fine.0.0")
    assert len(rest) > 5
    assert [name for name, last in rest if not last] == []


def last(*shape: int) -> Tensor:
    """`[T, N, C, H, W]` whose steps are channels_last."""
    steps, count, *rest = shape
    return torch.rand(steps * count, *rest).to(memory_format=torch.channels_last).unflatten(0, (steps, count))


@pytest.mark.parametrize("repeated", [False, True])
def test_maps_are_joined_in_their_order(repeated: bool) -> None:
    one, other = last(3, 2, 4, 5, 6), last(1 if repeated else 3, 2, 3, 5, 6).expand(3, -1, -1, -1, -1)
    for maps in ((one, other), (one.contiguous(), other.contiguous())):
        assert torch.equal(joined(maps), torch.cat(maps, dim=2))
    assert joined((one, other))[0].is_contiguous(memory_format=torch.channels_last)
    assert joined((one.contiguous(), one.contiguous())).is_contiguous()


def test_a_mean_over_time_keeps_the_order() -> None:
    def mean(steps: Tensor) -> Tensor:
        return steps.mean(dim=0)

    x = last(5, 2, 4, 5, 6)
    for some in (x, x[:, :, 1:]):
        assert over_steps(some, mean).is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(over_steps(some, mean), mean(some.contiguous()))
    assert over_steps(x.contiguous(), mean).is_contiguous()
    kept = over_steps(x, lambda steps: steps.sum(dim=0, keepdim=True))
    torch.testing.assert_close(kept, x.sum(dim=0, keepdim=True))
