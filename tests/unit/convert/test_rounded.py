"""Rounded activations: what waiting neurons send, and what is learnt on them."""

from __future__ import annotations

import copy

import pytest
import torch
from convert_data import frames, trained_like
from torch import Tensor, nn

from emsyolo.convert.rounded import Rounded, channel_means, tune
from emsyolo.neuron.accumulate import AccumulateFire, Code, levels_of


@pytest.mark.parametrize("slope", [0.0, 0.1])
@pytest.mark.parametrize(
    ("code", "steps", "top"), [("even", 7, 1.0), ("radix", 4, 1.0), ("radix", 5, 16 / 31), ("ternary", 3, 1.0)]
)
def test_it_is_what_waiting_neurons_send(code: Code, steps: int, top: float, slope: float) -> None:
    z = torch.randn(1, 2, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    scale = torch.tensor([0.5, 1.0, 2.5])
    levels = levels_of(code, steps)
    rounded = Rounded(scale, 0.5, levels, slope, top)
    rounded.shift.data.copy_(torch.tensor([0.1, -0.2, 0.0]))
    neuron = AccumulateFire(rounded.scale, 0.5, code, slope=slope, top=top, bias=rounded.bias)
    weights = neuron.step_weights(steps).view(-1, 1, 1, 1, 1)
    sent = (weights * neuron(z.expand(steps, -1, -1, -1, -1))).sum(dim=0) / levels * scale.view(-1, 1, 1)
    torch.testing.assert_close(rounded(z[0]), sent, rtol=0, atol=1e-5)


def test_gradients_go_through_the_rounding() -> None:
    rounded = Rounded(torch.ones(1), 0.5, 4, 0.0)
    z = torch.tensor([0.3, 0.6, -1.0, 2.0]).view(1, 1, 1, 4).requires_grad_()
    rounded(z).sum().backward()
    assert z.grad is not None
    assert z.grad.flatten().tolist() == [1, 1, 0, 0]
    assert rounded.shift.grad is not None
    assert rounded.shift.grad.item() == 2  # as two of them move with it
    assert rounded.log_scale.grad is not None
    # (0.25 - 0.3) + (0.5 - 0.6) inside, 0 below, and 1 above, where the activation is the scale.
    assert rounded.log_scale.grad.item() == pytest.approx(0.85, abs=1e-6)


def test_means_come_in_the_order_of_the_layers() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Conv2d(2, 3, 1), nn.ReLU())
    x = torch.rand(4, 1, 5, 5)
    means = channel_means(network, {"3": network[3], "1": network[1]}, [x, x])
    assert list(means) == ["1", "3"]
    torch.testing.assert_close(means["3"], network(x).movedim(1, 0).flatten(1).mean(dim=1))


def test_tuning_brings_the_maps_nearer_and_leaves_the_weights() -> None:
    detector = trained_like("ann_small")
    images = [frames(seed) for seed in (1, 2)]
    with torch.no_grad():
        wanted = [detector(x).maps for x in images]
    rounded, nodes = copy.deepcopy(detector), {}
    for name, module in list(rounded.named_modules()):
        if isinstance(module, nn.ReLU):
            parent, _, last = name.rpartition(".")
            nodes[name] = Rounded(torch.full((_channels(detector, name, images[0]),), 2.0), 0.5, 7, 0.0)
            setattr(rounded.get_submodule(parent), last, nodes[name])
    before = {name: value.clone() for name, value in rounded.state_dict().items()}
    was, became = tune(rounded, lambda x: rounded(x).maps, nodes, images, wanted, epochs=10)
    assert became < was
    changed = {name for name, value in rounded.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.rpartition(".")[2] for name in changed} == {"log_scale", "shift"}
    assert all(parameter.requires_grad for parameter in rounded.parameters())
    was, became = tune(rounded, lambda x: rounded(x).maps, nodes, images, wanted, epochs=10, weights=True)
    assert became <= was


def _channels(detector: nn.Module, name: str, x: Tensor) -> int:
    return len(channel_means(detector, {name: detector.get_submodule(name)}, [x])[name])
