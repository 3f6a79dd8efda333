"""What autograd keeps, by hand."""

from __future__ import annotations

import torch
from torch import nn

from emsyolo.evaluator.bytes_kept import bytes_kept


def test_input_and_sigmoid_are_kept_once_and_weights_are_not_counted() -> None:
    # A linear layer keeps its input (4 x 8) and its weight, a sigmoid its output (4 x 2).
    network = nn.Sequential(nn.Linear(8, 2), nn.Sigmoid())
    x = torch.rand(4, 8)
    assert bytes_kept(network, lambda: network(x)) == (4 * 8 + 4 * 2) * 4
    assert bytes_kept(network, lambda: network(x) + network(x)) == (4 * 8 + 2 * 4 * 2) * 4


def test_without_a_gradient_nothing_is_kept() -> None:
    network = nn.Linear(8, 2)
    with torch.no_grad():
        assert bytes_kept(network, lambda: network(torch.rand(4, 8))) == 0
