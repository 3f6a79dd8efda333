"""The contract: what neurons of all kinds say of themselves, and what is made of it."""

from __future__ import annotations

import pytest
import torch
from spikingjelly.activation_based import neuron as theirs
from spikingjelly.activation_based import surrogate
from torch import nn

from emsyolo.app import build_detector
from emsyolo.evaluator.activity import ActivityMeter
from emsyolo.neuron.accumulate import AccumulateFire
from emsyolo.neuron.integrate import IF
from emsyolo.neuron.lif import LIF
from emsyolo.neuron.neuron import Spikes, check_neuron, is_neuron, plain_form, spikes_of
from emsyolo.neuron.quantised import Quantised
from emsyolo.neuron.relu import LeakyReLU, ReLU
from emsyolo.neuron.silu import LeakySiLU

ONE = torch.ones(1)
DECLARED = [
    (LIF(), Spikes()),
    (IF(ONE), Spikes()),
    (AccumulateFire(ONE), Spikes()),
    (AccumulateFire(ONE, slope=0.1), Spikes(signed=True)),
    (IF(ONE, rule="signed"), Spikes(signed=True)),
    (IF(ONE, rule="imbalanced", slope=0.1), Spikes(signed=True)),
    (ReLU(), None),
    (LeakyReLU(), None),
    (Quantised(), None),
    (LeakySiLU(), None),
    (theirs.LIFNode(), Spikes()),
    (theirs.ParametricLIFNode(), Spikes()),
    (theirs.QIFNode(), Spikes()),
    (theirs.ILIFNode(), Spikes(4)),
    (theirs.ILIFNode(surrogate_function=surrogate.MultiLevelSpikeCount(2)), Spikes(2)),
    (theirs.LIFNode(surrogate_function=surrogate.Sigmoid(spiking=False)), None),
]


@pytest.mark.parametrize(("module", "spikes"), DECLARED, ids=lambda one: type(one).__name__)
def test_alphabets_are_declared(module: nn.Module, spikes: Spikes | None) -> None:
    assert spikes_of(module) == spikes
    assert is_neuron(module)
    assert not is_neuron(nn.Conv2d(1, 1, 1))


@pytest.mark.parametrize("module", [one for one, spikes in DECLARED if spikes], ids=lambda one: type(one).__name__)
def test_the_plain_form_sends_the_same(module: nn.Module) -> None:
    torch.manual_seed(0)
    x = torch.rand(5, 2, 1, 3, 4) * 2 - 0.5
    module.step_mode = "m"
    plain = plain_form(module)
    assert spikes_of(plain) == spikes_of(module)
    with torch.no_grad():
        torch.testing.assert_close(plain(x), module(x))


def target(name: str) -> str:
    return f"model.neuron={{_target_:spikingjelly.activation_based.neuron.{name},_partial_:true}}"


@pytest.mark.parametrize(("name", "levels"), [("ILIFNode", 4), ("ParametricLIFNode", 1), ("QIFNode", 1)])
def test_spikingjellys_neurons_work_with_true_figures(name: str, levels: int) -> None:
    torch.manual_seed(0)
    detector = build_detector("ems_resnet10", 2, 3, ["model.width=0.125", target(name)])
    frames = torch.rand(1, 2, 3, 64, 96)
    sent: dict[str, list[torch.Tensor]] = {}
    nodes = {key: one for key, one in detector.named_modules() if isinstance(one, theirs.BaseNode)}
    for key, node in nodes.items():
        assert node.step_mode == "m"
        node.register_forward_hook(lambda _, x, y, key=key: sent.setdefault(key, []).append(y.detach()))
    for _ in range(3):  # statistics that let the neurons fire
        detector(frames)
    detector.eval()
    sent.clear()
    with torch.no_grad(), ActivityMeter(detector) as meter:
        maps = detector(frames).maps
        meter.step(2)
    assert all(type(one) is not torch.Tensor for one in maps)  # noted on by the meter
    activity = meter.activity()
    behind = [one for one in activity.layers if one.levels is not None]
    numbers = {one.name for one in activity.layers} - {one.name for one in behind}
    assert numbers == {"backbone.stem.0", "head.maps.0", "head.maps.1"}
    assert {one.levels for one in behind} == {levels}
    assert {one.binary for one in behind} == {levels == 1}
    total = sum(int(y.sum()) for one in sent.values() for y in one)
    assert total > 0
    assert activity.firing_rate == pytest.approx(total / sum(y.numel() for one in sent.values() for y in one))
    first = next(one for one in behind if one.name == "backbone.stages.0.0.residual.1")
    (spikes,) = sent["backbone.stages.0.0.residual.0"]
    assert first.synops == pytest.approx(first.macs * float(spikes.sum()) / spikes.numel())  # a 3 is three accumulates
    assert first.firing_rate == pytest.approx(float((spikes != 0).float().mean()))
    with torch.no_grad():
        again, _ = detector.run(frames)
        for mine, other in zip(maps, again.maps, strict=True):
            torch.testing.assert_close(torch.Tensor(mine), other)


def test_what_is_no_neuron_is_refused() -> None:
    for made in (nn.ReLU, nn.Identity, object):
        with pytest.raises(ValueError, match=r"neuron makes a \w+ whose v_threshold is None; expected a neuron"):
            check_neuron(made)
    check_neuron(LIF)


def test_the_leaky_head_asks_for_a_decay() -> None:
    with pytest.raises(Exception, match=r"takes the decay of the network's neurons, and ReLU has none"):
        build_detector("ann_resnet18", 2, 1, ["model.width=0.125", "model.head_activation=silu"])
