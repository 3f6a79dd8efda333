"""Why a converted network differs from the network it was made of, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from emsyolo.model.detector import Detector
from emsyolo.neuron.accumulate import ROUNDING, AccumulateFire, levels_of
from emsyolo.neuron.integrate import IF

Node = IF | AccumulateFire
PARTS = ("clipping", "quantisation", "unevenness", "total", "inherited")


@dataclass(frozen=True)
class LayerError:
    """The error of one spiking layer, and its parts, as shares of the layer's threshold.

    The plain names are root mean squares, which do not add up; the means of the three parts add up to `mean_total`,
    as the parts themselves do in every element.

    Attributes:
        name: of the layer.
        clipping: activations that more than a spike per step would be needed for.
        quantisation: the grid of T steps.
        unevenness: what is left: spikes that came too early or too late.
        total: of the layer itself, on the input that it had.
        inherited: what its input differs by from that of the conventional network, after the activation.
        mean_clipping, mean_quantisation, mean_unevenness, mean_total, mean_inherited: the same with their signs.
        firing_rate: spikes, of both signs, per neuron and step.
        saturated: share of neurons that fired at every step.
        silent: share of neurons that never fired.
    """

    name: str
    clipping: float
    quantisation: float
    unevenness: float
    total: float
    inherited: float
    mean_clipping: float
    mean_quantisation: float
    mean_unevenness: float
    mean_total: float
    mean_inherited: float
    firing_rate: float
    saturated: float
    silent: float


def parts(
    z: Tensor,
    rate: Tensor,
    activation: Callable[[Tensor], Tensor],
    levels: int,
    start: float,
    slope: float = 0.0,
    *,
    imbalanced: bool = False,
    top: float = 1.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Clipping, quantisation and unevenness, elementwise; their sum is `rate - activation(z)`.

    Ming and Li, 2024, (18) and section 2.3: the error of a layer on its own input, taken apart. Even currents z make
    `floor(z L + start)` spikes, with a slope `floor(f(z) L + start)`, f the leaky ReLU, and in the imbalanced neuron,
    where one at or below `-1/slope` gives `1/slope` back, `floor(-slope (z L + start))` negative ones; of either L at
    most.

    Args:
        z: mean input current, in units of the threshold; of spikes that are digits the mean by what each stands
            for.
        rate: such a mean of the spikes, negative ones taken off.
        activation: of the conventional network, in the same units.
        levels: L; T, but where spikes are digits.
        start: potential at the start, in units of a level.
        slope: of neurons that send negative spikes for what is below 0; 0 of the others.
        imbalanced: whether those of the slope have the imbalanced threshold.
        top: share of the levels at which the neuron is clipped.
    """
    exact = activation(z)
    clipped = exact.clamp(-1, 1)
    if imbalanced:
        potential = z * levels + start
        up, down = ((x + ROUNDING).floor().clamp(0, levels) for x in (potential, -slope * potential))
        on_grid = (up - down) / levels
    else:
        most = round(top * levels)
        leaky = torch.where(z > 0, z, slope * z) if slope else z
        on_grid = (leaky * levels + start + ROUNDING).floor().clamp(-most if slope else 0, most) / levels
    return clipped - exact, on_grid - clipped, rate - on_grid


def layer_errors(
    spiking: Detector,
    conventional: Detector,
    batches: Iterable[Tensor],
    steps: int,
) -> list[LayerError]:
    """The error of every spiking layer after T steps, over some batches.

    Args:
        spiking: of `convert`.
        conventional: what it was made of, in evaluation mode.
        batches: frames `[1, N, C, H, W]`.
        steps: T.

    Raises:
        ValueError: no batch.
    """
    spiking.T = steps
    nodes = {name: module for name, module in spiking.named_modules() if isinstance(module, Node)}
    totals = {name: dict.fromkeys((field.name for field in fields(LayerError)[1:]), 0.0) for name in nodes}
    count = 0
    for frames in batches:
        count += 1
        currents, spikes = _watched(spiking, nodes, frames)
        truth = _activations(conventional, list(nodes), frames)
        for name, node in nodes.items():
            activation, exact = conventional.get_submodule(name), truth[name]
            for key, value in _measured(node, activation, currents[name], spikes[name], exact, steps).items():
                totals[name][key] += value
    if not count:
        raise ValueError("the error report had no batch; expected at least one image")
    return [
        LayerError(name, **{key: (v / count) ** 0.5 if key in PARTS else v / count for key, v in sums.items()})
        for name, sums in totals.items()
    ]


def _watched(
    spiking: Detector, nodes: dict[str, Node], frames: Tensor
) -> tuple[dict[str, Tensor], dict[str, list[Tensor]]]:
    """Summed currents by layer, and net spikes, both by what each step stands for, and the number of spikes."""
    currents: dict[str, Tensor] = {}
    spikes: dict[str, list[Tensor]] = {}

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def note(module: Any, args: tuple[Tensor, ...], output: Tensor) -> None:
            weights = _weights(module, len(output)).view(-1, 1, 1, 1, 1)
            own = args[0] if module.bias is None else args[0] + module.bias.view(-1, 1, 1)
            here = (weights * own).sum(dim=0)
            both = [(weights * output).sum(dim=0), output.abs().sum(dim=0)]
            currents[name] = currents[name] + here if name in currents else here
            spikes[name] = [a + b for a, b in zip(spikes[name], both, strict=True)] if name in spikes else both

        return note

    handles = [node.register_forward_hook(hook(name)) for name, node in nodes.items()]
    try:
        with torch.no_grad():
            spiking(frames)
    finally:
        for handle in handles:
            handle.remove()
    return currents, spikes


def _weights(node: Node, steps: int) -> Tensor:
    """What a spike of each step stands for, `[T]`."""
    return node.step_weights(steps) if isinstance(node, AccumulateFire) else node.scale.new_ones(steps)


def _activations(conventional: Detector, names: list[str], frames: Tensor) -> dict[str, Tensor]:
    """The outputs of the conventional network's activations, `[N, C, H, W]`."""
    found: dict[str, Tensor] = {}

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda module, args, output: found.__setitem__(name, output.detach().reshape(-1, *output.shape[-3:]))

    handles = [conventional.get_submodule(name).register_forward_hook(hook(name)) for name in names]
    try:
        with torch.inference_mode():
            conventional(frames)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _measured(
    node: Node, activation: nn.Module, current: Tensor, spikes: list[Tensor], exact: Tensor, steps: int
) -> dict[str, Any]:
    """The attributes of `LayerError` but the name; of the parts, mean squares."""
    scale = node.scale.view(-1, 1, 1)
    levels = levels_of(node.code, steps) if isinstance(node, AccumulateFire) else steps
    z, (net, both) = current / levels / scale, spikes

    def in_units(x: Tensor) -> Tensor:
        return activation(x * scale) / scale

    imbalanced, top = isinstance(node, IF) and node.rule == "imbalanced", getattr(node, "top", 1.0)
    with torch.inference_mode():
        clipping, quantisation, unevenness = parts(
            z, net / levels, in_units, levels, node.start, node.slope, imbalanced=imbalanced, top=top
        )
        total = clipping + quantisation + unevenness
        inherited = in_units(z) - exact / scale
    found = dict(zip(PARTS, (clipping, quantisation, unevenness, total, inherited), strict=True))
    return {
        **{key: value.square().mean().item() for key, value in found.items()},
        **{f"mean_{key}": value.mean().item() for key, value in found.items()},
        "firing_rate": both.mean().item() / steps,
        "saturated": (net.abs() >= levels).float().mean().item(),
        "silent": (both == 0).float().mean().item(),
    }
