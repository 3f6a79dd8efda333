"""Any torch module as a spiking one: laws, torchvision's detectors, refusals."""

from __future__ import annotations

import copy
import doctest
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from module_data import RandomNetwork, SSDLite, as_if_trained, pictures, retinanet, with_statistics
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree
from torchvision.models.detection import retinanet_resnet50_fpn_v2, ssdlite320_mobilenet_v3_large
from torchvision.ops import FrozenBatchNorm2d

from emsyolo.convert import traced
from emsyolo.convert.converter import Conversion, Rule
from emsyolo.convert.graph import trace
from emsyolo.convert.pool import AccumulatedMaxPool
from emsyolo.convert.traced import DetectorMaps, convert_module
from emsyolo.neuron.accumulate import AccumulateFire
from emsyolo.neuron.integrate import IF
from emsyolo.neuron.neuron import is_neuron
from emsyolo.neuron.quantised import Quantised


def images(n: int = 3, seed: int = 1, size: tuple[int, int] = (12, 16)) -> Tensor:
    return torch.rand(n, 3, *size, generator=torch.Generator().manual_seed(seed))


class Residual(nn.Module):
    """A residual block as ResNet has it, whose ReLU is one module, then pooling and a linear layer."""

    def __init__(self, activation: Callable[[], nn.Module] = lambda: nn.ReLU(inplace=True)) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.bn1, self.bn2 = with_statistics(nn.BatchNorm2d(6)), with_statistics(nn.BatchNorm2d(6))
        self.act = activation()
        self.pool = nn.MaxPool2d(2)
        self.out = nn.Conv2d(6, 4, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.act(self.bn1(self.conv1(x)))
        x = self.act(self.bn2(self.conv2(x)) + x)
        return {"maps": self.out(self.pool(x)), "mean": self.out(x).mean((2, 3))}


def errors(module: nn.Module, x: Tensor, **how: Any) -> list[float]:
    """Of the outputs of the spiking module, root mean square, as shares of the outputs' deviation."""
    found = pytree.tree_leaves(convert_module(module, lambda: [x], Conversion(normalise="max", **how))(x))
    with torch.no_grad():
        wanted = pytree.tree_leaves(copy.deepcopy(module).eval()(x))
    assert [one.shape for one in found] == [one.shape for one in wanted]
    return [float((a - b).square().mean().sqrt() / b.std()) for a, b in zip(found, wanted, strict=True)]


@settings(max_examples=40, deadline=None, phases=[Phase.generate])
@given(st.integers(0, 10**6))
def test_the_graph_of_a_random_network_is_the_network(seed: int) -> None:
    network, x = RandomNetwork(seed).double(), images().double()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    found = trace(network)
    wanted = pytree.tree_leaves(copy.deepcopy(network).eval()(x))
    for a, b in zip(found.network(x), wanted, strict=True):
        assert (a - b).abs().max() <= 1e-9 * (1 + b.abs().max())
    assert network.training
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


@settings(max_examples=20, deadline=None, phases=[Phase.generate])
@given(st.integers(0, 10**6))
def test_the_error_of_a_random_network_falls_with_the_levels(seed: int) -> None:
    network, x = RandomNetwork(seed), images()
    few, many = (max(errors(network, x, rule="radix", T=T)) for T in (5, 11))
    assert many < max(few / 16, 1e-4)
    assert many < 0.01
    assert max(errors(network, x, rule="delayed", T=31)) == pytest.approx(few, rel=0.05, abs=1e-4)


@pytest.mark.parametrize(
    ("rule", "activation"),
    [
        *((rule, nn.ReLU) for rule in ("plain", "signed", "delayed")),
        *((rule, nn.ReLU6) for rule in ("plain", "signed", "delayed")),
        *((rule, lambda: nn.LeakyReLU(0.1)) for rule in ("imbalanced", "signed", "delayed")),
    ],
)
def test_the_error_falls_as_one_over_time(rule: Rule, activation: Callable[[], nn.Module]) -> None:
    network, x = Residual(activation), images()
    early, late = (max(errors(network, x, rule=rule, T=T)) for T in (32, 256))
    # An imbalanced neuron whose current swings below the lower threshold takes longer to make it up.
    assert late < early / (3 if rule == "imbalanced" else 4)
    assert late < 0.02


def test_radix_is_delayed_at_as_many_steps_as_it_has_levels() -> None:
    network, x = Residual(), images()
    one, other = (
        convert_module(network, lambda: [x], Conversion(rule=rule, T=T, normalise="max"))(x)
        for rule, T in (("radix", 4), ("delayed", 15))
    )
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=0, atol=1e-5)


def test_a_quantised_activation_with_levels_enough_is_itself() -> None:
    network, x = Residual(lambda: Quantised(levels=7, scale=1.5)), images()
    assert max(errors(network, x, rule="radix", T=3)) < 1e-3
    assert max(errors(network, x, rule="radix", T=5)) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("make", [retinanet, SSDLite])
def test_detectors_of_torchvision(make: Callable[[], nn.Module]) -> None:
    network, x = as_if_trained(make()), pictures(2)
    spiking = convert_module(network, lambda: [x], Conversion(rule="radix", T=8, normalise="max"))
    assert {type(module) for module in spiking.modules() if is_neuron(module)} == {AccumulateFire}
    assert spiking.latency_steps == 8 + 8 * (54 if make is retinanet else 39)
    with torch.no_grad():
        wanted = network(x)

    def error() -> float:
        return max(
            float((value - wanted[name]).square().mean().sqrt() / wanted[name].std())
            for name, value in spiking(x).items()
        )

    few = error()
    assert few < 0.03
    spiking.T = 10  # thresholds that are maxima are those of any T
    assert error() < few / 3


def test_every_call_has_neurons_of_its_own_that_send_spikes() -> None:
    network, x = Residual(), images()
    spiking = convert_module(network, lambda: [x], Conversion(rule="radix", T=6))
    neurons = {name: module for name, module in spiking.named_modules() if isinstance(module, AccumulateFire)}
    assert list(neurons) == ["network.module.act.layer", "network.module.act_2.layer"]
    seen: list[Tensor] = []
    for neuron in neurons.values():
        neuron.register_forward_hook(lambda module, args, output: seen.append(output))
    spiking(x)
    assert all(spikes.unique().tolist() == [0, 1] for spikes in seen)
    assert [spikes.shape[:3] for spikes in seen] == [(6, 3, 6)] * 2
    assert sum(isinstance(module, AccumulatedMaxPool) for module in spiking.modules()) == 1
    assert not any(isinstance(module, nn.BatchNorm2d) for module in spiking.modules())


def test_nothing_is_kept_and_any_chunk_and_size_will_do() -> None:
    network, x = Residual(), images()
    spiking = convert_module(network, lambda: [x], Conversion(rule="signed", T=12, chunk=5))
    first = spiking(x)
    spiking.train()
    assert not spiking.training
    spiking(images(2, seed=5, size=(20, 10)))
    copied = copy.deepcopy(spiking)
    copied.chunk = 12
    for again in (spiking(x), copied(x)):
        for name, value in first.items():
            torch.testing.assert_close(again[name], value, rtol=0, atol=1e-5)
    spiking.T = 64
    assert (spiking(x)["maps"] - first["maps"]).abs().max() > 0
    with pytest.raises(ValueError, match="T is 0"):
        spiking.T = 0
    assert spiking.latency_steps == 64


def test_biases_are_corrected_and_thresholds_tuned() -> None:
    network, x = Residual(), images(8)
    with torch.no_grad():
        wanted = copy.deepcopy(network).eval()(x)["maps"]

    def error(**more: Any) -> float:
        found = convert_module(network, lambda: x.split(4), Conversion(rule="radix", T=2, **more))(x)["maps"]
        return float((found - wanted).square().mean())

    plain = error()
    assert error(correct_biases=True) < plain
    assert error(tune_epochs=20) < plain
    assert error(tune_epochs=20, tune_weights=True) < plain


def test_what_was_computed_in_place_is_seen_afterwards() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.relu = nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> list[Tensor]:
            x = self.conv(x)
            before = 2 * x
            y = self.relu(x)
            x.clamp_(max=0.5, min=0)
            return [before, x + y]

    torch.manual_seed(0)
    assert max(errors(InPlace(), images(), rule="radix", T=10)) < 0.01


def test_normalisation_after_a_sum_becomes_a_convolution() -> None:
    class Preactivated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)
            self.norms = nn.ModuleList([with_statistics(kind(3)) for kind in (nn.BatchNorm2d, FrozenBatchNorm2d)])
            self.out = nn.Conv2d(3, 2, 1)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            x = x + self.conv(x)
            a, b = (F.relu(norm(x)) for norm in self.norms)
            return self.out(a), b

    network = Preactivated()
    assert max(errors(network, images(), rule="radix", T=10)) < 0.01
    kinds = [type(module) for module in trace(network).network.modules()]
    assert kinds.count(nn.Conv2d) == 4
    assert nn.BatchNorm2d not in kinds


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4), nn.SiLU()), r"GroupNorm \(1\), SiLU \(2\); expected"),
        (nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3, track_running_stats=False)), r"without running statistics \(1\)"),
        (nn.Sequential(nn.ReLU(), nn.Hardtanh()), r"Hardtanh from -1.0 to 1.0 \(1\)"),
        (nn.Sequential(nn.ReLU(), nn.PReLU(), nn.Sigmoid()), r"PReLU \(1\), Sigmoid \(2\)"),
        (nn.Sequential(nn.ReLU(), nn.MaxPool2d(2, return_indices=True)), r"MaxPool2d with return_indices \(1\)"),
        (nn.Conv2d(3, 4, 1), "the module has no ReLU, leaky ReLU, ReLU6 or quantised activation"),
    ],
)
def test_layers_that_cannot_be_converted_are_named(module: nn.Module, names: str) -> None:
    with pytest.raises(ValueError, match=names):
        convert_module(module, lambda: [images()])


def test_layers_of_torchvision_that_cannot_be_converted_are_named() -> None:
    detector = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)
    with pytest.raises(
        ValueError,
        match=r"cannot convert Hardswish \(backbone\.features\.0\.0\.2, .*, and 10 more\), Hardsigmoid \(backbone\."
        r".*\), mul of two maps \(backbone\.features\.0\.4\.block\.2, ",
    ):
        convert_module(DetectorMaps(detector), lambda: [images()])
    with pytest.raises(ValueError, match=r"GroupNorm \(head\.classification_head\.conv\.0\.1, "):
        convert_module(DetectorMaps(retinanet_resnet50_fpn_v2(weights=None, weights_backbone=None)), lambda: [images()])
    with pytest.raises(ValueError, match=r"cannot trace SSD: .* \(ssd\.py, line \d+: for img in images:\); expected"):
        convert_module(detector, lambda: [images()])
    with pytest.raises(ValueError, match="Residual has no backbone; expected a detector of one stage"):
        DetectorMaps(Residual())


class Called(nn.Module):
    """A function of what a convolution gives, after a ReLU."""

    def __init__(self, call: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.conv, self.call = nn.Conv2d(3, 4, 3), call

    def forward(self, x: Tensor) -> Any:
        return self.call(F.relu(self.conv(x)))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (torch.sigmoid, r"cannot convert sigmoid \(forward\)"),
        (lambda x: x * x, r"mul of two maps \(forward\)"),
        (lambda x: x**2, r"pow \(forward\)"),
        (lambda x: 1 / x, r"truediv by a map \(forward\)"),
        (lambda x: x.clamp(-1, 1), r"clamp from -1 \(forward\)"),
        (lambda x: F.max_pool2d(x, x.shape[-1]), r"max_pool2d of a window or bound that is not a number \(forward\)"),
        (lambda x: F.group_norm(x, 2), r"group_norm \(forward\)"),
        (lambda x: x if x.sum() > 0 else -x, r"cannot trace Called: .* \(test_traced\.py, line \d+: "),
        (lambda x: x.view(1, -1), r"Called, given two images where there was one|output 0 of Called"),
        (lambda x: x - x.mean(), r"output 0 of Called: what was traced gives something else"),
        (lambda x: x.mean(), r"output 0 of Called"),
    ],
)
def test_functions_that_cannot_be_converted_are_named(call: Callable[[Tensor], Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        convert_module(Called(call), lambda: [images()])


def test_what_does_not_depend_on_values_is_given_as_it_is() -> None:
    found = convert_module(Called(lambda x: {"maps": x, "stride": 8, "size": x.shape[-1]}), lambda: [images()])(
        images()
    )
    assert (found["stride"], found["size"]) == (8, 14)


def test_rules_go_with_their_activations_and_images_are_checked() -> None:
    with pytest.raises(ValueError, match=r"convert\.rule is 'imbalanced' and act is ReLU"):
        convert_module(Residual(), lambda: [images()], Conversion(rule="imbalanced"))
    with pytest.raises(ValueError, match="calibration: no batch"):
        convert_module(Residual(), lambda: [])
    with pytest.raises(ValueError, match=r"expected \[N, C, H, W\] float"):
        convert_module(Residual(), lambda: [(255 * images()).to(torch.uint8)])
    spiking = convert_module(Residual(lambda: nn.LeakyReLU(0.1)), lambda: [images()])
    assert {module.rule for module in spiking.modules() if isinstance(module, IF)} == {"imbalanced"}
    with pytest.raises(ValueError, match=r"images are \(3, 12, 16\)"):
        spiking(images()[0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("rule", ["signed", "radix"])
def test_modules_on_a_gpu(rule: Rule) -> None:
    network, x = Residual().double(), images().double()
    found, wanted = (
        convert_module(
            copy.deepcopy(network).to(device),
            lambda device=device: [x.to(device)],
            Conversion(rule=rule, T=6, normalise="max", correct_biases=rule == "radix"),
        )(x.to(device))
        for device in ("cuda", "cpu")
    )
    assert found["maps"].is_cuda
    # But for sums that lie on a level within rounding.
    assert ((found["maps"].cpu() - wanted["maps"]).abs() < 1e-3).double().mean() > 0.99


def test_the_example_of_the_docstring() -> None:
    assert doctest.testmod(traced).failed == 0
