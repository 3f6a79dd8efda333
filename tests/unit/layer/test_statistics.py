"""Running statistics measured anew, against sums by hand."""

from __future__ import annotations

import math

import torch
from torch import nn

from emsyolo.layer.statistics import measure_statistics, strangeness
from emsyolo.layer.tdbn import TdBN


def test_statistics_are_the_mean_over_the_batches() -> None:
    norm = TdBN(1, v_threshold=0.5)
    norm.running_mean.fill_(100.0)
    batches = [torch.tensor([0.0, 2.0]).view(2, 1, 1, 1), torch.tensor([4.0, 8.0]).view(2, 1, 1, 1)]
    assert measure_statistics(nn.Sequential(norm).eval(), batches) == 1
    assert norm.running_mean.item() == 3.5  # of 1 and 6
    assert norm.running_var.item() == 5.0  # of 2 and 8, divided by n - 1
    assert norm.momentum == 0.1
    assert not norm.training
    assert norm.weight.item() == 0.5


def test_frozen_statistics_stay() -> None:
    class Half(nn.Sequential):
        def train(self, mode: bool = True) -> Half:
            super().train(mode)
            self[0].eval()
            return self

    network = Half(nn.BatchNorm2d(1, affine=False), nn.BatchNorm2d(1))
    assert measure_statistics(network, [torch.full((2, 1, 1, 1), 7.0)]) == 1
    assert network[0].running_mean.item() == 0
    assert abs(network[1].running_mean.item() - 7) < 1e-4  # the first divides by sqrt(1 + 1e-5)


def test_no_batch_changes_nothing() -> None:
    norm = nn.BatchNorm2d(1)
    assert measure_statistics(norm, []) == 0
    assert norm.running_mean.item() == 0


def test_strangeness_is_nothing_for_the_statistics_of_the_training() -> None:
    norm = nn.BatchNorm2d(1, eps=0.0).eval()
    assert strangeness(nn.Sequential(norm), torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1)) == 0
    found = strangeness(nn.Sequential(norm), torch.tensor([0.0, 4.0]).view(2, 1, 1, 1))  # mean 2, variance 4
    assert abs(found - math.log1p((4 + 4 - 1 - math.log(4)) / 2)) < 1e-6
    assert not norm._forward_pre_hooks
