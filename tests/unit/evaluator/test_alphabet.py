"""Declarations that travel with tensors."""

from __future__ import annotations

import pytest
import torch
from spikingjelly.activation_based.neuron import IFNode
from torch import nn
from torch.nn import functional as F

from emsyolo.evaluator.activity import ActivityMeter
from emsyolo.evaluator.alphabet import NUMBERS, Declared, declared_of, tagged
from emsyolo.layer.pool import MaxPool2d
from emsyolo.neuron.neuron import Spikes

BINARY, FOUR = Declared(Spikes()), Declared(Spikes(4))


def spikes(declared: Declared = BINARY) -> torch.Tensor:
    torch.manual_seed(0)
    return tagged((torch.rand(2, 3, 4, 6) < 0.4).float(), declared)


@pytest.mark.parametrize(
    "move",
    [
        lambda x: x.flatten(0, 1).unflatten(0, (2, 3)),
        lambda x: x[:1].expand(3, -1, -1, -1),
        lambda x: x.permute(0, 2, 3, 1).contiguous(),
        lambda x: x.to(torch.bfloat16),
        lambda x: F.max_pool2d(x, 2),
        MaxPool2d(2, 2),
        nn.MaxPool2d(2, 2),
        lambda x: F.pad(x, (0, 1, 0, 1)),
        lambda x: F.interpolate(x, scale_factor=2.0, mode="nearest"),
        lambda x: x.unbind(0)[1],
        lambda x: torch.stack([x, x]),
    ],
)
def test_what_moves_values_keeps_what_was_declared(move) -> None:  # type: ignore[no-untyped-def]
    with torch.inference_mode():
        assert declared_of(move(spikes())) == BINARY


def test_what_joins_spikes_widens_and_what_computes_gives_numbers() -> None:
    assert declared_of(torch.cat((spikes(), spikes(FOUR)), dim=1)) == FOUR
    assert declared_of(torch.cat((spikes(), torch.rand(2, 3, 4, 6)), dim=1)) is None
    assert declared_of(torch.cat((spikes(), tagged(torch.rand(2, 3, 4, 6), NUMBERS)), dim=1)) == NUMBERS
    for computed in (
        spikes().mean(dim=0),
        spikes() * 2,
        spikes() + 1,
        F.conv2d(spikes(), torch.rand(1, 3, 1, 1)),
        F.interpolate(spikes(), scale_factor=2.0, mode="bilinear"),
        F.avg_pool2d(spikes(), 2),
    ):
        assert declared_of(computed) == NUMBERS
    assert declared_of(spikes() + spikes()) is None  # judged by what it holds
    assert declared_of(spikes() + (spikes() + spikes())) is None
    assert declared_of(spikes() + tagged(torch.rand(2, 3, 4, 6), NUMBERS)) == NUMBERS
    assert spikes().shape == (2, 3, 4, 6)


class Lying(IFNode):
    """Sends halves and calls them spikes."""

    def multi_step_forward(self, x_seq: torch.Tensor) -> torch.Tensor:
        return super().multi_step_forward(x_seq) / 2


def test_a_neuron_that_sends_what_it_does_not_declare_is_an_error() -> None:
    network = nn.Sequential(Lying(step_mode="m"), nn.Flatten(0, 1), nn.Conv2d(3, 1, 1))
    with torch.no_grad(), ActivityMeter(network) as meter:
        network(torch.ones(2, 1, 3, 4, 6))
        meter.step(1)
    with pytest.raises(ValueError, match=r"0: spikes are declared as whole numbers from 0 to 1, but 144 of 144 values"):
        meter.report()
