"""Time folded into the batch, and tdBN."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emsyolo.layer.multistep import MultiStep, over_time
from emsyolo.neuron.lif import LIF
from emsyolo.neuron.state import forget


class Counting(nn.Module):
    """Counts how many maps it sees."""

    seen = 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        return 2 * x


def test_equal_steps_are_computed_once() -> None:
    layer = Counting()
    still = torch.randn(1, 3, 2, 4, 6)
    out = over_time(still.expand(5, -1, -1, -1, -1), layer)
    assert layer.seen == 3
    assert torch.equal(out, over_time(still.repeat(5, 1, 1, 1, 1), layer))
    assert layer.seen == 3 + 15


def test_equal_steps_have_the_same_gradient() -> None:
    conv = nn.Conv2d(2, 3, 3).double()
    still = torch.randn(1, 2, 2, 5, 6, dtype=torch.float64)
    grads = []
    for x in (still.expand(4, -1, -1, -1, -1), still.repeat(4, 1, 1, 1, 1)):
        conv.zero_grad()
        over_time(x, conv).square().sum().backward()
        assert conv.weight.grad is not None
        grads.append(conv.weight.grad.clone())
    torch.testing.assert_close(grads[0], grads[1])


def test_neurons_see_time() -> None:
    layers = MultiStep(LIF(), Counting())
    x = torch.tensor([0.4, 0.4]).view(2, 1, 1, 1, 1)
    assert layers(x).flatten().tolist() == [0, 2]
    forget(layers)
    assert layers(x).flatten().tolist() == [0, 2]
