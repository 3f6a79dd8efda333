"""The operations counted here beside SpikingJelly's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from emsyolo.evaluator.op_count import energy_beside_spikingjelly


def spikes() -> Tensor:
    x = torch.zeros(1, 1, 4, 5)
    x[0, 0, 0, 0] = x[0, 0, 2, 3] = 1
    return x


def test_spikes_of_a_1x1_convolution_are_counted_alike_and_at_the_border_not() -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 1, bias=False), nn.Conv2d(3, 2, 1, bias=False))
    beside = energy_beside_spikingjelly(network, lambda: network(spikes()), mac_pj=4.6, ac_pj=0.9)
    first, second = beside["layers"]
    assert first["synops"] == pytest.approx(2 * 3)
    assert first["spikingjelly_acs"] == 2 * 3
    assert second["macs"] == second["spikingjelly_macs"] == 20 * 3 * 2
    assert beside["ours_mJ"] == pytest.approx((6 * 0.9 + 120 * 4.6) * 1e-9)
    assert beside["spikingjelly"]["convolutions_mJ"] == pytest.approx(beside["ours_mJ"])

    padded = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, bias=False))
    # The spike in the corner meets 4 of 9 weights, the one inside all of them.
    (row,) = energy_beside_spikingjelly(padded, lambda: padded(spikes()), mac_pj=4.6, ac_pj=0.9)["layers"]
    assert (row["synops"], row["spikingjelly_acs"]) == (pytest.approx(18), 4 + 9)


def test_counts_are_seen_from_within_inference_mode() -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 1, bias=False))
    with torch.inference_mode():
        beside = energy_beside_spikingjelly(network, lambda: network(spikes()), mac_pj=4.6, ac_pj=0.9)
    assert beside["layers"][0]["spikingjelly_acs"] == 6


def test_negative_spikes_are_multiplications_to_spikingjelly() -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 1, bias=False))
    (row,) = energy_beside_spikingjelly(network, lambda: network(-spikes()), mac_pj=4.6, ac_pj=0.9)["layers"]
    assert (row["synops"], row["spikingjelly_acs"], row["spikingjelly_macs"]) == (pytest.approx(6), 0, 60)
