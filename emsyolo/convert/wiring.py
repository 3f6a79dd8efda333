"""Which neuron feeds which channel of which convolution, and the weights scaled by it."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from emsyolo.convert.fold import CONVOLUTIONS
from emsyolo.model.detector import Detector

TOLERANCE = 1e-4  # of a map that should be constant, relative


class _Constant(nn.Module):
    """Stands for an activation: its scale everywhere, times a factor."""

    scale: Tensor

    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale)
        self.factor = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return (self.factor * self.scale.to(x.dtype).view(-1, 1, 1)).expand_as(x)


def scale_weights(
    network: Detector, activations: dict[str, nn.Module], scales: dict[str, Tensor], frames: Tensor
) -> None:
    """Multiply each convolution's input weights by the threshold of the neuron that feeds the channel.

    The wiring is found by probing with a black image. In the first pass every neuron gives its threshold as a constant
    and every convolution 0, so that a convolution sees which threshold reaches which of its channels, through whatever
    lies between, and 0 where zeros are padded. In the second pass each constant is multiplied by a random factor of its
    own and convolutions give infinity: a channel that mixes several neurons, or spikes and currents, is then not the
    first pass times one of the factors, and is refused. Channels that the image or currents feed are 0 in the first
    pass, and stay as they are.
    """
    constants = {name: _Constant(scales[name]) for name in activations}
    for name, constant in constants.items():
        replace_module(network, name, constant)
    convolutions = {name: module for name, module in network.named_modules() if isinstance(module, CONVOLUTIONS)}
    seen: dict[str, list[Tensor]] = {name: [] for name in convolutions}
    current = 0.0

    def keep(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        def note(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            seen[name].append(args[0].detach().movedim(-3, 0).flatten(1))
            return torch.full_like(output, current)

        return note

    handles = [module.register_forward_hook(keep(name)) for name, module in convolutions.items()]
    factors = 2 + torch.rand(len(constants), generator=torch.Generator().manual_seed(0)).to(frames.device)
    with torch.inference_mode():
        network(torch.zeros_like(frames))
        for constant, factor in zip(constants.values(), factors.tolist(), strict=True):
            constant.factor = factor
        current = math.inf
        network(torch.zeros_like(frames))
    for handle in handles:
        handle.remove()
    with torch.no_grad():
        for name, convolution in convolutions.items():
            once, again = seen[name]
            scale = _stood_for(name, once, again, factors)
            if isinstance(convolution, nn.ConvTranspose2d):
                per_weight = scale.view(-1, 1)
            else:  # an output channel reads the inputs of its group
                groups = convolution.groups
                per_weight = scale.view(groups, -1).repeat_interleave(convolution.out_channels // groups, dim=0)
            convolution.weight.mul_(per_weight[:, :, None, None])


def _stood_for(name: str, once: Tensor, again: Tensor, factors: Tensor) -> Tensor:
    """What a spike of each input channel stands for, `[C]`, from the inputs `[C, values]` of both runs; else 1.

    Where the first is 0, zeros were padded.
    """
    spikes = once > 0
    fed = spikes.any(dim=1)

    def ends(x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.where(spikes, x, math.inf).amin(dim=1), torch.where(spikes, x, -math.inf).amax(dim=1)

    ratios = torch.stack(ends(again / once))[:, fed, None]
    one_neuron = (ratios - factors).abs().amax(dim=0) <= TOLERANCE  # [C, factors]
    if not one_neuron.any(dim=-1).all():
        raise ValueError(
            f"cannot convert {name}: the spikes of several layers, or spikes and currents, are added in its input"
        )
    least, most = ends(once)
    if ((most - least)[fed] > TOLERANCE * most[fed]).any():
        raise ValueError(
            f"cannot convert {name}: in its input a spike counts less at the border, where an average pads zeros; "
            "expected count_include_pad=False"
        )
    return torch.where(fed, most, 1.0)


def replace_module(network: nn.Module, name: str, module: nn.Module) -> None:
    """Put another module in the place of the one of this name."""
    parent, _, last = name.rpartition(".")
    setattr(network.get_submodule(parent), last, module)
