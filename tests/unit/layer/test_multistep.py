"""Time folded into the batch, and tdBN."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emsyolo.layer.multistep import MultiStep, over_time
from emsyolo.layer.tdbn import TdBN
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


def test_tdbn_normalises_over_time_and_starts_at_alpha_times_threshold() -> None:
    norm = TdBN(3, v_threshold=0.5, alpha=0.2)
    assert torch.equal(norm.weight, torch.full((3,), 0.1))
    x = torch.randn(4, 2, 3, 5, 6) * torch.arange(1, 5).view(4, 1, 1, 1, 1)  # every step has another spread
    y = over_time(x, norm)
    torch.testing.assert_close(y.std(dim=(0, 1, 3, 4), correction=0), torch.full((3,), 0.1), atol=1e-4, rtol=0)
    assert y[3].std() > 2 * y[0].std()
