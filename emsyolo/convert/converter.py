"""From a trained detector with ReLU, leaky ReLU or the quantised activation to a spiking one.

SpikingJelly's `ann2snn` is not used: its FX converter traces a network of single steps `[N, C, H, W]`, with one
threshold per layer, and knows neither the concatenation of maps of different scales, nor transposed convolutions, nor
max-pooling of real values, nor a detector's two outputs. Its IF node is used.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import get_args

import torch
from spikingjelly.activation_based.neuron import BaseNode
from torch import Tensor, nn

from emsyolo.convert import calibrate as calibration
from emsyolo.convert.fold import CONVOLUTIONS, fold_normalisation
from emsyolo.convert.pool import AccumulatedMaxPool
from emsyolo.model.detector import Detector
from emsyolo.neuron import integrate
from emsyolo.neuron.quantised import Quantised
from emsyolo.text import shortlist

ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, Quantised)
LINEAR = (nn.Identity, nn.Upsample, nn.AvgPool2d, nn.ZeroPad2d, nn.ReplicationPad2d, nn.Dropout, nn.Dropout2d)
TOLERANCE = 1e-4  # of a map that should be constant, relative


@dataclass(frozen=True)
class Conversion:
    """How a network is converted, and how it is run.

    Attributes:
        rule: of the neurons, as for `IF`; leaky ReLU knows only `imbalanced`, which `plain` means there.
        T: steps, where none are asked for.
        normalise, percentile, levels: of the scales, as for `calibrate`; a quantised activation has its own.
        start: potential at the start as a share of the threshold, in [0, 1]; None: 1/2 for quantised activations,
            else 0.
        images: training images of the calibration.
        chunk: steps computed together, at most; memory grows with it. `delayed` needs T.
        report: take the error apart, layer by layer.
    """

    rule: integrate.Rule = "plain"
    T: int = 64
    normalise: calibration.Rule = "percentile"
    percentile: float = 99.9
    levels: int = 32
    start: float | None = None
    images: int = 64
    chunk: int = 16
    report: bool = False

    def __post_init__(self) -> None:
        if self.rule not in get_args(integrate.Rule):
            expected = ", ".join(get_args(integrate.Rule))
            raise ValueError(f"convert.rule is {self.rule!r}; expected one of {expected}")
        for name in ("T", "images", "chunk", "levels"):
            if getattr(self, name) < 1:
                raise ValueError(f"convert.{name} is {getattr(self, name)}; expected at least 1")
        if self.start is not None and not 0 <= self.start <= 1:
            raise ValueError(f"convert.start is {self.start}; expected a share of the threshold in [0, 1], or null")


def is_conventional(detector: nn.Module) -> bool:
    """Whether a detector has activations that can be converted."""
    return any(isinstance(module, ACTIVATIONS) for module in detector.modules())


def convert(
    detector: Detector, batches: Callable[[], Iterable[Tensor]], settings: Conversion | None = None
) -> Detector:
    """A spiking detector that computes, as T grows, what a conventional one computes; of leaky ReLU nearly.

    Normalisation is folded; every activation becomes an IF neuron that sends 0 or 1 (or -1), its threshold the scale of
    its channel; what a spike stands for, that scale, is taken into the weights of the convolutions that it feeds, so
    that each input channel of a concatenation carries its own: W~[i,j] = W[i,j] lambda[i], the threshold lambda[j] in
    place of a division by it. Ming and Li, 2024, (15). Max-pooling is replaced by `AccumulatedMaxPool`. The maps are
    read out as the mean of their input current. The error falls as 1/T, but for neurons of leaky ReLU whose currents
    swing so far that they send spikes of both signs: a negative one gives back more than a positive one takes.

    Args:
        detector: trained; is left untouched.
        batches: gives frames `[1, N, C, H, W]` for the calibration, the same whenever it is called.
        settings: None is `Conversion()`.

    Raises:
        ValueError: a layer that cannot be converted, one whose activation does not go with the rule, or a convolution
            whose input is a sum of spikes, or of spikes and currents; names it.
    """
    settings = settings or Conversion()
    spiking, activations = _folded(detector)
    for name, value in activations.items():
        _rule(name, value, settings.rule)  # refused before the calibration, which takes long
    scales = calibration.calibrate(
        spiking,
        activations,
        batches,
        rule=settings.normalise,
        percentile=settings.percentile,
        levels=settings.levels,
    )
    for name, module in activations.items():
        if isinstance(module, Quantised):
            if not module.scale > 0:
                raise ValueError(f"{name}: its scale lambda is {module.scale.item()}; expected a number > 0")
            scales[name] = module.scale.detach().to(scales[name]).expand(len(scales[name])).clone()
    frames = next(iter(batches()))[:, :1]
    _scale_weights(spiking, activations, scales, frames)
    _make_spiking(spiking, activations, scales, settings)
    return spiking


def converted_like(detector: Detector, settings: Conversion, state: Mapping[str, Tensor]) -> Detector:
    """The structure of a converted detector, to be filled with the state that it was saved with.

    Args:
        detector: the ANN's, of any weights; is left untouched.
        settings: of the conversion.
        state: the converted network's tensors by name; its thresholds tell the number of channels.

    Raises:
        ValueError: as `convert`; a state without a threshold for one of the activations.
    """
    spiking, activations = _folded(detector)
    lacking = [name for name in activations if f"{name}.scale" not in state]
    if lacking:
        raise ValueError(f"the converted network has no thresholds for {shortlist(lacking)}: another architecture")
    _make_spiking(spiking, activations, {name: state[f"{name}.scale"] for name in activations}, settings)
    return spiking


def _folded(detector: Detector) -> tuple[Detector, dict[str, nn.Module]]:
    """A copy with its normalisation folded, and its activations by name."""
    if detector.temporal is not None:
        raise ValueError(
            f"cannot convert temporal ({type(detector.temporal).__name__}), whose gates no spikes stand for; expected "
            "a detector trained with temporal=none"
        )
    spiking = copy.deepcopy(detector).eval()
    spiking.T = 1
    fold_normalisation(spiking)
    _refuse(spiking)
    activations: dict[str, nn.Module] = {
        n: module for n, module in spiking.named_modules() if isinstance(module, ACTIVATIONS)
    }
    if not activations:
        raise ValueError("the detector has no ReLU, leaky ReLU or quantised activation; expected one trained as an ANN")
    return spiking, activations


def _make_spiking(
    network: Detector, activations: Mapping[str, nn.Module], scales: Mapping[str, Tensor], settings: Conversion
) -> None:
    """Put neurons in the places of activations, and max-pooling in time in those of max-pooling."""
    for name, module in activations.items():
        own = (0.5 if isinstance(module, Quantised) else 0.0) if settings.start is None else settings.start
        slope = {"slope": module.negative_slope} if isinstance(module, nn.LeakyReLU) else {}
        neuron = integrate.IF(scales[name], own, _rule(name, module, settings.rule), **slope)
        _replace(network, name, neuron)
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.MaxPool2d):
            _replace(network, name, AccumulatedMaxPool(module))
    network.chunk = settings.chunk


def _rule(name: str, activation: nn.Module, rule: integrate.Rule) -> integrate.Rule:
    """The rule of the neuron that stands for an activation."""
    if not isinstance(activation, nn.LeakyReLU):
        if rule == "imbalanced":
            kind = type(activation).__name__
            raise ValueError(f"convert.rule is 'imbalanced' and {name} is {kind}; that rule is only for leaky ReLU")
        return rule
    if not activation.negative_slope > 0:
        raise ValueError(f"{name}: the slope of its leaky ReLU is {activation.negative_slope}; expected a number > 0")
    if rule not in ("plain", "imbalanced"):
        raise ValueError(
            f"convert.rule is {rule!r} and {name} is leaky ReLU, for which there is only the imbalanced threshold; "
            "expected 'plain' or 'imbalanced', which are the same for it"
        )
    return "imbalanced"


def _refuse(network: nn.Module) -> None:
    """Refuse what the conversion does not know."""
    known = (*CONVOLUTIONS, *ACTIVATIONS, *LINEAR, nn.MaxPool2d)
    neurons = [
        f"{name} ({type(module).__name__})" for name, module in network.named_modules() if isinstance(module, BaseNode)
    ]
    unknown = neurons or [
        f"{name} ({type(module).__name__})"
        for name, module in network.named_modules()
        if not list(module.children()) and not isinstance(module, known) and not getattr(module, "moves_values", False)
    ]
    if unknown:
        raise ValueError(
            f"cannot convert {shortlist(unknown)}; expected ReLU, leaky ReLU or quantised activations, convolutions, "
            "normalisation after them, max-pooling and linear layers"
        )


class _Constant(nn.Module):
    """Stands for an activation: its scale everywhere, times a factor."""

    scale: Tensor

    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale)
        self.factor = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return (self.factor * self.scale.to(x.dtype).view(-1, 1, 1)).expand_as(x)


def _scale_weights(
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
        _replace(network, name, constant)
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


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(network.get_submodule(parent), last, module)
