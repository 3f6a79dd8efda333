"""The neuron that stands for an activation: its rule, its threshold, its start, and what is learnt of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from emsyolo.convert import calibrate as calibration
from emsyolo.convert.rounded import Rounded, channel_means, correct_biases, tune
from emsyolo.neuron import integrate
from emsyolo.neuron.accumulate import AccumulateFire
from emsyolo.neuron.quantised import Quantised

if TYPE_CHECKING:
    from emsyolo.convert.converter import Conversion

log = logging.getLogger(__name__)

CODES: dict[str, Any] = {
    "delayed": "even",
    "radix": "radix",
    "ternary": "ternary",
}  # of the neurons that accumulate first
ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, Quantised)


def thresholds(
    network: nn.Module,
    run: Callable[[Tensor], Sequence[Tensor]],
    activations: Mapping[str, nn.Module],
    put: Callable[[str, nn.Module], None],
    batches: Callable[[], Iterable[Tensor]],
    settings: Conversion,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The thresholds of the neurons that stand for activations, and what is added to their currents, by name, `[C]`.

    Args:
        network: of the activations; with `tune_weights` its weights become the better ones.
        run: the network, a batch to its maps.
        activations: by name, fed with maps `[..., C, H, W]`.
        put: another module into the place of the activation of a name.
        batches: for the calibration, the same whenever it is called.
        settings: of the conversion.

    Raises:
        ValueError: as `calibrate`; an activation that does not go with the rule; names it.
    """
    for name, module in activations.items():
        _rule(name, module, settings.rule)  # refused before the calibration, which takes long
    scales = calibration.calibrate(
        run,
        dict(activations),
        batches,
        rule=settings.normalise,
        percentile=settings.percentile,
        levels=settings.levels or settings.own_levels,
    )
    scales = {name: _within(name, activations[name], scale, settings) for name, scale in scales.items()}
    if not (settings.correct_biases or settings.tune_epochs):
        return scales, {}
    frames = list(batches())
    with torch.no_grad():
        wanted = [run(batch) for batch in frames]
    truth = channel_means(run, activations, frames)  # in the order in which they run
    nodes = {}
    for name in truth:
        module = activations[name]
        start, top = _start(module, settings), _top(module, settings)
        nodes[name] = Rounded(scales[name], start, settings.own_levels, _slope(module), top).to(frames[0].device)
        put(name, nodes[name])
    if settings.correct_biases:
        correct_biases(run, nodes, truth, frames)
    if settings.tune_epochs:
        epochs, weights = settings.tune_epochs, settings.tune_weights
        was, became = tune(network, run, nodes, frames, wanted, epochs=epochs, weights=weights)
        log.info("tuned: the maps' squared error, in their variances, falls from %.4g to %.4g", was, became)
    return (
        {name: node.scale.detach() for name, node in nodes.items()},
        {name: node.bias.detach() for name, node in nodes.items()},
    )


def neuron_for(
    name: str, activation: nn.Module, scale: Tensor, bias: Tensor | None, settings: Conversion
) -> integrate.IF | AccumulateFire:
    """The neuron in the place of an activation, for currents `[T, N, C, H, W]`.

    Raises:
        ValueError: an activation that does not go with the rule; names it.
    """
    rule, start, slope = _rule(name, activation, settings.rule), _start(activation, settings), _slope(activation)
    if rule not in CODES:
        return integrate.IF(scale, start, rule, slope, bias)
    top = _top(activation, settings)
    return AccumulateFire(scale, start, CODES[rule], slope=slope, delay=settings.delay, top=top, bias=bias)


def _within(name: str, activation: nn.Module, scale: Tensor, settings: Conversion) -> Tensor:
    """The scale that an activation has by itself: all of a quantised one, no more than where another is clipped."""
    if isinstance(activation, nn.Hardtanh):
        return scale.clamp(max=activation.max_val)
    if not isinstance(activation, Quantised):
        return scale
    if not activation.scale > 0:
        raise ValueError(f"{name}: its scale lambda is {activation.scale.item()}; expected a number > 0")
    own = activation.scale.detach().to(scale) * _levels_share(activation, settings)
    return own.expand(len(scale)).clone()


def _slope(activation: nn.Module) -> float:
    """Below 0: of leaky ReLU and its quantised form, else 0."""
    if isinstance(activation, Quantised):
        return activation.slope
    return float(activation.negative_slope) if isinstance(activation, nn.LeakyReLU) else 0.0


def _start(activation: nn.Module, settings: Conversion) -> float:
    """The potential at the start of the neuron that stands for an activation."""
    if settings.start is not None:
        return settings.start
    rounded = isinstance(activation, Quantised) or settings.rule in CODES
    return 0.5 if rounded or (settings.rule == "signed" and _slope(activation)) else 0.0


def _levels_share(activation: Quantised, settings: Conversion) -> float:
    """What all levels of a neuron stand for, in scales of the activation.

    More than 1 where the neuron has more levels than the activation: then those of the activation are levels of the
    neuron, and nothing is lost. With fewer, to round anew costs less than to leave out the last ones.
    """
    return max(1.0, settings.own_levels / activation.levels) if settings.rule in CODES else 1.0


def _top(activation: nn.Module, settings: Conversion) -> float:
    """The share of its levels at which a neuron is clipped, where those stand for more than the activation's scale."""
    return 1 / _levels_share(activation, settings) if isinstance(activation, Quantised) else 1.0


def _rule(name: str, activation: nn.Module, rule: str) -> Any:
    """The rule of the neuron that stands for an activation."""
    slope = _slope(activation)
    if isinstance(activation, nn.LeakyReLU) and not slope > 0:
        raise ValueError(f"{name}: the slope of its leaky ReLU is {slope}; expected a number > 0")
    if rule == "imbalanced" and not slope:
        kind = type(activation).__name__
        raise ValueError(f"convert.rule is 'imbalanced' and {name} is {kind}; that rule is only for leaky ReLU")
    return "imbalanced" if rule == "plain" and slope else rule
