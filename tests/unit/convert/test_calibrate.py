"""Scales from a few batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from emsyolo.convert.calibrate import by_percentile, calibrate, least_squares


def batches(*listed: Tensor) -> Iterable[Tensor]:
    return list(listed)


def test_scales_by_every_rule() -> None:
    act = nn.ReLU()
    values = torch.linspace(0, 10, 1001).view(1, 1, 1, 1001).repeat(1, 2, 1, 1)
    values[:, 1] *= 0.5

    def scales(rule: str, **options: float) -> list[float]:
        return calibrate(act, {"a": act}, lambda: batches(values), rule=rule, **options)["a"].tolist()  # type: ignore[arg-type]

    assert scales("max") == [10, 5]
    assert scales("percentile", percentile=90.0) == pytest.approx([9, 4.5], abs=0.02)
    assert scales("mean_square", levels=64) == pytest.approx([10, 5], rel=0.05)
    assert scales("mean_square", levels=2)[0] < 10


def test_scales_reach_below_zero_where_the_activation_does() -> None:
    act = nn.LeakyReLU(0.1)
    values = torch.tensor([[-70.0, 3.0], [-20.0, 5.0]]).view(1, 2, 1, 2)
    for rule in ("max", "percentile", "mean_square"):
        found = calibrate(act, {"a": act}, lambda: batches(values), rule=rule)["a"].tolist()  # type: ignore[arg-type]
        assert found == pytest.approx([7, 5], rel=0.05)


def test_a_silent_channel_gets_the_largest_scale() -> None:
    act = nn.ReLU()
    values = torch.tensor([-1.0, 3.0]).view(1, 2, 1, 1)
    assert calibrate(act, {"a": act}, lambda: batches(values), rule="max")["a"].tolist() == [3, 3]


def test_a_rarely_active_channel_is_scaled_by_the_values_above_zero() -> None:
    act = nn.ReLU()
    values = torch.full((1, 2, 1, 100_000), -1.0)
    values[0, 0, 0, :50] = torch.arange(1.0, 51.0)  # active in 0.05 % of the places: the 99.9th percentile is 0
    values[0, 1, 0, :150] = torch.arange(1.0, 151.0)  # in 0.15 %: 100 of 100,000 may lie above
    found = calibrate(act, {"a": act}, lambda: batches(values), percentile=99.9)["a"].tolist()
    assert found == pytest.approx([50, 50], abs=0.1)
    half = calibrate(act, {"a": act}, lambda: batches(values), percentile=50.0)["a"].tolist()
    assert half == pytest.approx([25, 75], abs=0.1)


def test_counts_of_more_values_than_float32_can_count() -> None:
    act = nn.ReLU()
    low, high = torch.full((1, 1, 1, 2**21), 0.5), torch.ones(1, 1, 1, 2**21)
    # 12 of 16 are low: 25.2 million, where float32 stops at 16.8 million.
    found = calibrate(act, {"a": act}, lambda: [low] * 12 + [high] * 4, percentile=70.0)["a"].item()
    assert found == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("pick", [by_percentile(99.9), least_squares(32)])
def test_scales_are_picked_on_the_device_of_the_maps(pick: Callable[[Tensor], Tensor]) -> None:
    with FakeTensorMode():
        assert pick(torch.zeros(3, 2049, dtype=torch.int64, device="cuda")).device.type == "cuda"
