"""The neurons of converted networks: the papers' examples."""

from __future__ import annotations

import pytest
import torch

from emsyolo.neuron.integrate import IF, Rule
from emsyolo.neuron.quantised import quantised
from emsyolo.neuron.state import forget


def node(rule: Rule = "plain", start: float = 0.0, scale: float = 1.0) -> IF:
    return IF(torch.tensor([scale]), start, rule)


def drive(neuron: IF, currents: list[float]) -> list[float]:
    """The spikes of one neuron for one current per step."""
    forget(neuron)
    return neuron(torch.tensor(currents).view(-1, 1, 1, 1, 1)).flatten().tolist()


@pytest.mark.parametrize(
    ("first", "second", "rate"),
    [((1, 3, 5), (2, 4, 6), 0.5), ((1, 2, 3), (4, 5, 6), 4 / 6), ((4, 5, 6), (1, 2, 3), 2 / 6)],
)
def test_example_of_the_paper(first: tuple[int, ...], second: tuple[int, ...], rate: float) -> None:
    # Ming and Li, 2024, Fig. 6: W = [2, -1], both inputs 0.5, threshold 1, T = 6.
    currents = [2.0 * (t in first) - 1.0 * (t in second) for t in range(1, 7)]
    assert sum(drive(node(), currents)) / 6 == pytest.approx(rate)


def test_threshold_is_in_the_units_of_the_current() -> None:
    assert drive(node(scale=2.0), [1.0, 1.0, 1.5, 0.5]) == [0, 1, 0, 1]


def test_signed_neuron_takes_back_what_came_too_early() -> None:
    # Half of the input on average is 0, but it comes first: a plain neuron cannot unsay its spikes.
    currents = [1.0, 1.0, -1.0, -1.0, 0.0, 0.0]
    assert sum(drive(node("plain"), currents)) == 2
    assert drive(node("signed"), currents) == [1, 1, -1, -1, 0, 0]
    assert drive(node("signed"), [-1.0, -1.0, 1.0]) == [0, 0, 0]  # nothing to take back


def test_signed_neuron_follows_leaky_relu() -> None:
    leaky = IF(torch.tensor([1.0]), 0.5, "signed", 0.5)
    assert drive(leaky, [-1.0, -1.0, -1.0, -1.0]) == [0, -1, 0, -1]  # half of the sums: -0.5, -1, -1.5, -2, rounded
    assert drive(leaky, [-2.0, -2.0, 3.0, 2.0]) == [-1, -1, 1, 1]  # -1, -2, -0.5, 1; a spike a step
    for z in (-0.8, -0.3, 0.2, 0.7):
        assert sum(drive(leaky, [z] * 200)) / 200 == pytest.approx(z if z > 0 else 0.5 * z, abs=1 / 200)


def test_imbalanced_neuron_is_leaky_relu_in_the_mean() -> None:
    for z in (-0.8, -0.3, 0.2, 0.7):
        spikes = drive(IF(torch.tensor([1.0]), 0.0, "imbalanced", 0.1), [z] * 2000)
        assert sum(spikes) / 2000 == pytest.approx(z if z > 0 else 0.1 * z, abs=2e-3)


@pytest.mark.parametrize("levels", [1, 4, 16])
def test_even_input_has_no_error_where_the_levels_are_the_steps(levels: int) -> None:
    # A half threshold to begin with, T = L: u(T) is in [0, 1) and the count is the floor of the activation.
    scale = torch.tensor(1.7)
    for z in torch.linspace(-0.5, 2.5, 61).add(0.0007).tolist():
        rate = sum(drive(node(start=0.5, scale=1.7), [z] * levels)) / levels
        assert rate * 1.7 == pytest.approx(quantised(torch.tensor(z), scale, levels).item(), abs=1e-6)
