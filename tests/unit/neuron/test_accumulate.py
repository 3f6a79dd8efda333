"""Neurons that accumulate first: numbers by hand, and laws over random currents."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from emsyolo.neuron.accumulate import AccumulateFire, Code, levels_of, step_weights
from emsyolo.neuron.quantised import quantised

ONE = torch.ones(1)


def drive(neuron: AccumulateFire, currents: list[float]) -> list[float]:
    """The spikes of one neuron for one current per step."""
    return neuron(torch.tensor(currents).view(-1, 1, 1, 1, 1)).flatten().tolist()


def sent(neuron: AccumulateFire, x: Tensor) -> Tensor:
    """What the spikes stand for, as a share of the scale."""
    weights = neuron.step_weights(len(x))
    return (weights.view(-1, 1, 1, 1, 1) * neuron(x)).sum(dim=0) / weights.sum()


def test_the_order_of_the_currents_does_not_matter() -> None:
    for currents in ([1.0, 1.0, 1.0, -1.0, 0.0, 0.0], [-1.0, 0.0, 1.0, 0.0, 1.0, 1.0]):
        spikes = drive(AccumulateFire(ONE, 0.0), currents)
        assert sum(spikes) == 2
        assert set(spikes) == {0, 1}


def test_radix_spikes_are_binary_digits() -> None:
    assert step_weights("radix", 4).tolist() == [8, 4, 2, 1]
    # A current of c in every step is c times 15 levels.
    for current, digits in (
        (0.0, "0000"),
        (0.2, "0011"),
        (11 / 15, "1011"),
        (1.0, "1111"),
        (3.0, "1111"),
        (-1, "0000"),
    ):
        assert drive(AccumulateFire(ONE, code="radix"), [current] * 4) == [int(digit) for digit in digits]
    # Spikes of two neurons before, 0101 and 1000 at weights 1/2 and 1: 2.5 and 8 levels, rounded up.
    assert drive(AccumulateFire(ONE, code="radix"), [1.0, 0.5, 0.0, 0.5]) == [1, 0, 1, 1]


def test_below_zero_digits_have_one_sign() -> None:
    leaky = AccumulateFire(ONE, code="radix", slope=0.5)
    assert drive(leaky, [-10 / 15] * 4) == [0, -1, 0, -1]
    assert drive(leaky, [11 / 15] * 4) == [1, 0, 1, 1]
    assert drive(leaky, [-9.0] * 4) == [-1, -1, -1, -1]
    even = drive(AccumulateFire(ONE, slope=0.5), [-1.0, -1.0, -1.0, -1.0])
    assert sorted(even) == [-1, -1, 0, 0]


def test_ternary_spikes_are_balanced_digits() -> None:
    assert step_weights("ternary", 4).tolist() == [27, 9, 3, 1]
    assert levels_of("ternary", 4) == 40
    # A current of c in every step is c times 40 levels; 14 = 27 - 9 - 3 - 1.
    for levels, digits in ((0, [0, 0, 0, 0]), (14, [1, -1, -1, -1]), (20, [1, -1, 1, -1]), (40, [1, 1, 1, 1])):
        assert drive(AccumulateFire(ONE, code="ternary"), [levels / 40] * 4) == digits
    assert drive(AccumulateFire(ONE, code="ternary"), [-1.0] * 4) == [0, 0, 0, 0]
    leaky = AccumulateFire(ONE, code="ternary", slope=0.5)
    assert drive(leaky, [-28 / 40] * 4) == [-1, 1, 1, 1]
    assert drive(leaky, [-9.0] * 4) == [-1, -1, -1, -1]


@pytest.mark.parametrize("slope", [0.0, 0.1])
@pytest.mark.parametrize("code", ["radix", "ternary"])
@pytest.mark.parametrize("steps", [1, 3, 5, 8])
def test_digits_at_t_is_even_at_as_many_steps_as_it_has_levels(steps: int, code: Code, slope: float) -> None:
    z = torch.linspace(-3, 1.5, 4001).add(1e-4).view(1, 1, 1, 1, -1)
    levels = levels_of(code, steps)
    digits, even = (AccumulateFire(torch.tensor([1.1]), code=one, slope=slope) for one in (code, "even"))
    one = sent(digits, z.expand(steps, -1, -1, -1, -1))
    other = sent(even, z.expand(levels, -1, -1, -1, -1))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("code", "steps", "levels"), [("even", 16, 16), ("radix", 4, 15), ("radix", 8, 16), ("ternary", 4, 16)]
)
def test_it_is_the_quantised_activation_where_there_are_levels_for_it(code: Code, steps: int, levels: int) -> None:
    z = torch.randn(1, 1, 1, 1, 5000, generator=torch.Generator().manual_seed(0))
    scale, own = torch.tensor(1.7), levels_of(code, steps)
    neuron = AccumulateFire(scale.view(1) * own / levels, code=code, top=levels / own)
    found = sent(neuron, z.expand(steps, -1, -1, -1, -1)) * neuron.scale
    torch.testing.assert_close(found, quantised(z[0], scale, levels), rtol=0, atol=1e-5)


@pytest.mark.parametrize("code", ["even", "radix", "ternary"])
def test_a_delay_of_all_steps_but_one_loses_nothing(code: Code) -> None:
    x = torch.randn(5, 2, 1, 3, 4, generator=torch.Generator().manual_seed(0)) * 2
    for slope in (0.0, 0.3):
        whole = sent(AccumulateFire(ONE, code=code, slope=slope), x)
        errors = []
        for delay in (4, 3, 1, 0):
            neuron = AccumulateFire(ONE, code=code, slope=slope, delay=delay)
            assert set(neuron(x).unique().tolist()) <= ({-1.0, 0.0, 1.0} if neuron.spikes.signed else {0.0, 1.0})
            errors.append(float((sent(neuron, x) - whole).abs().mean()))
        assert errors[0] < 1e-6
        assert errors[0] <= errors[1] < errors[3]


def test_without_delay_a_spike_knows_only_what_has_come() -> None:
    # 8 of 15 levels come in the first step, the other 7 after it: with the first spike 8 are sent.
    assert drive(AccumulateFire(ONE, code="radix", delay=0), [1.0, 1.0, 1.0, 1.0]) == [1, 1, 1, 1]
    assert drive(AccumulateFire(ONE, code="radix", delay=0), [0.0, 1.0, 1.0, 1.0]) == [0, 1, 1, 1]
    assert drive(AccumulateFire(ONE, code="radix", delay=0), [0.0, 1.0, 1.0, 3.0]) == [0, 1, 1, 1]  # too late for 9


def test_an_early_neuron_is_clipped_where_its_activation_is() -> None:
    for delay in (0, 1, None):
        neuron = AccumulateFire(ONE, code="radix", delay=delay, top=4 / 15)
        assert drive(neuron, [3.0, 3.0, 3.0, 3.0]) == [0, 1, 0, 0]


def test_a_bias_is_a_current_of_every_step() -> None:
    x = torch.randn(4, 1, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    bias = torch.tensor([0.3, -0.2])
    with_bias = AccumulateFire(torch.tensor([0.7, 1.1]), code="radix", bias=bias)
    without = AccumulateFire(torch.tensor([0.7, 1.1]), code="radix")
    assert torch.equal(with_bias(x), without(x + bias.view(-1, 1, 1)))


def test_refusals() -> None:
    with pytest.raises(ValueError, match="a threshold is -1"):
        AccumulateFire(-ONE)
    with pytest.raises(ValueError, match=r"convert\.delay is -1"):
        AccumulateFire(ONE, delay=-1)
    with pytest.raises(ValueError, match="code is 'phase'; expected one of even, radix, ternary"):
        AccumulateFire(ONE, code="phase")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="convert=radix at T = 17; expected at most 16"):
        AccumulateFire(ONE, code="radix")(torch.zeros(17, 1, 1, 1, 1))
    with pytest.raises(ValueError, match="convert=ternary at T = 11; expected at most 10"):
        AccumulateFire(ONE, code="ternary")(torch.zeros(11, 1, 1, 1, 1))
