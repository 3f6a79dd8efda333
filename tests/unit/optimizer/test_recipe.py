"""Warm-up and schedules by hand."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from emsyolo.optimizer.recipe import Recipe, cosine, linear, parameter_groups


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))


def test_only_convolution_weights_decay() -> None:
    groups = parameter_groups(network(), 0.1)
    assert [(len(g["params"]), g["weight_decay"], g["bias"]) for g in groups] == [
        (1, 0.1, False),
        (1, 0.0, False),
        (2, 0.0, True),
    ]


def test_sgd_warms_up_as_published() -> None:
    recipe = Recipe(
        partial(torch.optim.SGD, lr=0.01, momentum=0.937),
        schedule="linear",
        final_lr=0.1,
        warmup_epochs=2,
        warmup_bias_lr=0.1,
        warmup_momentum=0.8,
    )
    optimizer, schedule = recipe.build(network(), steps=20, steps_per_epoch=2)
    seen = []
    for _ in range(20):
        seen.append([(g["lr"], g["momentum"]) for g in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    assert seen[0] == [(0.0, pytest.approx(0.8)), (0.0, pytest.approx(0.8)), (0.1, pytest.approx(0.8))]
    # half way through the warm-up of 4 steps: factor 1 - 0.9 * 2/20 = 0.91
    assert seen[2][0] == (pytest.approx(0.0091 / 2), pytest.approx((0.8 + 0.937) / 2))
    assert seen[2][2][0] == pytest.approx((0.1 + 0.0091) / 2)
    assert seen[10][0] == (pytest.approx(0.01 * 0.55), pytest.approx(0.937))
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.001)


def test_curves_end_where_they_should() -> None:
    for curve in (cosine, linear):
        assert curve(0.0, 0.1) == pytest.approx(1.0)
        assert curve(1.0, 0.1) == pytest.approx(0.1)
    assert cosine(0.5, 0.0) == pytest.approx(0.5)


def test_schedule_resumes() -> None:
    recipe = Recipe(partial(torch.optim.AdamW, lr=0.01), warmup_epochs=1)
    optimizer, schedule = recipe.build(network(), steps=10, steps_per_epoch=3)
    for _ in range(5):
        optimizer.step()
        schedule.step()
    again, resumed = recipe.build(network(), steps=10, steps_per_epoch=3)
    again.load_state_dict(optimizer.state_dict())
    resumed.load_state_dict(schedule.state_dict())
    again.step()
    resumed.step()
    optimizer.step()
    schedule.step()
    assert [g["lr"] for g in again.param_groups] == [g["lr"] for g in optimizer.param_groups]


def test_unknown_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match=r"optimizer\.schedule is 'step'; expected one of \['cosine', 'linear'\]"):
        Recipe(partial(torch.optim.SGD, lr=0.1), schedule="step")
