"""The error of a conversion, layer by layer."""

from __future__ import annotations

import pytest
import torch
from convert_data import frames, simulate, trained_like
from torch import Tensor, nn

from emsyolo.convert.converter import Conversion, Rule, convert
from emsyolo.convert.error import layer_errors, parts
from emsyolo.neuron.integrate import IF
from emsyolo.neuron.quantised import Quantised


@pytest.mark.parametrize(("rule", "steps"), [("delayed", 16), ("delayed", 20), ("radix", 5), ("radix", 8)])
def test_waiting_neurons_with_levels_enough_are_the_quantised_network(rule: Rule, steps: int) -> None:
    detector = trained_like("spiking_yolov3_fc")
    assert {one.levels for one in detector.modules() if isinstance(one, Quantised)} == {16}
    waiting = convert(detector, lambda: [frames()], Conversion(rule=rule, T=steps, chunk=20))
    # But for currents that lie on a step within rounding: one neuron in ten thousand, off by one step.
    assert all(one.total < 1e-3 for one in layer_errors(waiting, detector, [frames()], steps))
    plain = convert(detector, lambda: [frames()])
    assert layer_errors(plain, detector, [frames()], steps)[-1].total > 1e-2


def test_parts_of_the_error_by_hand() -> None:
    # T = 4, threshold 1: 1.3 is clipped to 1; 0.6 lies on the grid at 0.5; two spikes too many are unevenness.
    z, rate = torch.tensor([1.3, 0.6, 0.6]), torch.tensor([1.0, 0.5, 1.0])
    clipping, grid, unevenness = parts(z, rate, torch.relu, 4, 0.0)
    torch.testing.assert_close(clipping, torch.tensor([-0.3, 0.0, 0.0]))
    torch.testing.assert_close(grid, torch.tensor([0.0, -0.1, -0.1]))
    torch.testing.assert_close(unevenness, torch.tensor([0.0, 0.0, 0.5]))
    torch.testing.assert_close(clipping + grid + unevenness, rate - torch.relu(z))


def test_parts_of_the_error_below_zero_by_hand() -> None:
    # Slope 1/2, T = 4: a negative spike at -2. -0.8 comes to -3.2, past -2 once; -3 to -12, past -2 six times.
    z, rate = torch.tensor([-0.8, -3.0, 0.6]), torch.tensor([-0.25, -1.0, 0.25])
    leaky = nn.LeakyReLU(0.5)
    clipping, grid, unevenness = parts(z, rate, leaky, 4, 0.0, 0.5, imbalanced=True)
    torch.testing.assert_close(clipping, torch.tensor([0.0, 0.5, 0.0]))
    torch.testing.assert_close(grid, torch.tensor([0.15, 0.0, -0.1]))
    torch.testing.assert_close(unevenness, torch.tensor([0.0, 0.0, -0.25]))
    # A start of 1/2: -2.7 still lies past -2 once, -1.9 (from z = -0.6) does not.
    _, grid, _ = parts(torch.tensor([-0.6]), torch.tensor([0.0]), leaky, 4, 0.5, 0.5, imbalanced=True)
    assert grid.item() == pytest.approx(0.3)


def test_parts_of_signed_spikes_by_hand() -> None:
    # Slope 1/2, L = 4, rounded: -0.8 comes to -1.6 levels, so two negative ones; -3 is clipped at four.
    z, rate = torch.tensor([-0.8, -3.0, 0.6]), torch.tensor([-0.25, -1.0, 0.5])
    clipping, grid, unevenness = parts(z, rate, nn.LeakyReLU(0.5), 4, 0.5, 0.5)
    torch.testing.assert_close(clipping, torch.tensor([0.0, 0.5, 0.0]))
    torch.testing.assert_close(grid, torch.tensor([-0.1, 0.0, -0.1]))
    torch.testing.assert_close(unevenness, torch.tensor([0.25, 0.0, 0.0]))


@pytest.mark.parametrize("rule", ["signed", "delayed", "radix"])
@pytest.mark.parametrize("model", ["spiking_yolov3", "spiking_yolo"])
def test_even_currents_are_not_uneven_for_the_first_neuron(rule: Rule, model: str) -> None:
    detector = trained_like(model)
    settings = Conversion(rule=rule, T=5, normalise="max")
    first = layer_errors(convert(detector, lambda: [frames()], settings), detector, [frames()], 5)[0]
    # The image comes evenly; but for currents that lie on a step within rounding: one of 31 levels in one of 98,304
    # neurons is 1e-4.
    assert first.unevenness < (2e-3 if rule == "signed" else 3e-4)
    assert first.total == pytest.approx(first.quantisation, rel=1e-3)


@pytest.mark.parametrize("start", [0.0, 0.5, 1.0])
def test_even_currents_are_not_uneven_for_the_imbalanced_neuron(start: float) -> None:
    z = torch.linspace(-9.97, 1.5, 200).add(0.0031)
    for steps in (1, 7, 30):
        neuron = IF(torch.ones(1), start, "imbalanced", 0.1)
        rate = neuron(z.view(1, 1, 1, 1, -1).repeat(steps, 1, 1, 1, 1)).mean(dim=0).flatten()
        _, _, unevenness = parts(z, rate, nn.LeakyReLU(0.1), steps, start, 0.1, imbalanced=True)
        assert unevenness.abs().max() < 1e-6


def test_report_of_a_leaky_network() -> None:
    detector = trained_like("spiking_yolo")
    spiking = convert(detector, lambda: [frames()], Conversion(percentile=99.0))
    errors = layer_errors(spiking, detector, [frames()], 16)
    # The image comes evenly: what its layer does wrong is the grid and clipping, below 0 as well.
    assert errors[0].unevenness < 1e-3
    assert errors[0].quantisation > 0.01
    assert errors[1].unevenness > 0.01


@pytest.mark.parametrize("model", ["spiking_yolov3", "spiking_yolo"])
def test_report_is_the_error_of_a_layer_on_the_input_that_it_had(model: str) -> None:
    # phi_l - f(W phi_(l-1)), Ming and Li, 2024, (18), from what went into the layer and came out of it.
    detector, steps = trained_like(model), 12
    spiking = convert(detector, lambda: [frames()], Conversion(percentile=99.0))
    errors = {one.name: one for one in layer_errors(spiking, detector, [frames()], steps)}
    name = list(errors)[1]
    node = spiking.get_submodule(name)
    convolution = spiking.get_submodule(name.rpartition(".")[0] + ".0")
    fed, sent = torch.zeros(()), torch.zeros(())

    def note_fed(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        nonlocal fed
        fed = fed + args[0].unflatten(0, (-1, 2)).sum(dim=0)

    def note_sent(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal sent
        sent = sent + output.sum(dim=0)

    convolution.register_forward_pre_hook(note_fed)
    node.register_forward_hook(note_sent)
    list(simulate(spiking, frames(), [steps]))
    assert isinstance(node, IF)
    scale = node.scale.view(-1, 1, 1)
    with torch.no_grad():
        z = convolution(fed / steps)
    error = sent / steps - detector.get_submodule(name)(z) / scale
    slope = 0.1 if model == "spiking_yolo" else 0.0
    split = parts(z / scale, sent / steps, detector.get_submodule(name), steps, 0.0, slope, imbalanced=slope > 0)
    torch.testing.assert_close(split[0] + split[1] + split[2], error)
    found = errors[name]
    assert found.total == pytest.approx(error.square().mean().sqrt().item(), rel=1e-4)
    assert found.mean_total == pytest.approx(error.mean().item(), rel=1e-3)
    assert found.mean_clipping + found.mean_quantisation + found.mean_unevenness == pytest.approx(found.mean_total)
    for part, value in zip((found.clipping, found.quantisation, found.unevenness), split, strict=True):
        assert part == pytest.approx(value.square().mean().sqrt().item(), rel=1e-3, abs=1e-6)


def test_report_names_every_layer_and_the_first_inherits_nothing() -> None:
    detector = trained_like("spiking_yolov3")
    spiking = convert(detector, lambda: [frames()], Conversion(percentile=99.0))
    errors = layer_errors(spiking, detector, [frames()], 16)
    assert [one.name for one in errors] == [n for n, m in detector.named_modules() if isinstance(m, nn.ReLU)]
    assert errors[0].inherited == pytest.approx(0, abs=1e-5)
    assert errors[0].clipping > 0
    assert errors[-1].inherited > 0
    assert all(0 <= one.firing_rate <= 1 for one in errors)
