"""The moving average of weights by hand."""

from __future__ import annotations

import math

import pytest
import torch

from emsyolo.trainer.ema import ema_average


def test_decay_rises_as_in_yolov5() -> None:
    update = ema_average(decay=0.9, steps=10.0)
    for count in (1, 10, 1000):
        averaged, current = [torch.tensor([1.0])], [torch.tensor([3.0])]
        update(averaged, current, torch.tensor(count))
        decay = 0.9 * (1 - math.exp(-count / 10))
        assert averaged[0].item() == pytest.approx(decay * 1 + (1 - decay) * 3)


def test_counters_are_copied() -> None:
    averaged, current = [torch.tensor([2])], [torch.tensor([7])]
    ema_average(decay=0.9, steps=10.0)(averaged, current, torch.tensor(1))
    assert averaged[0].item() == 7
