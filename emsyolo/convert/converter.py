"""From a trained detector with ReLU, leaky ReLU or the quantised activation to a spiking one.

SpikingJelly's `ann2snn` is not used: its FX converter traces a network of single steps `[N, C, H, W]`, with one
threshold per layer, and knows neither the concatenation of maps of different scales, nor transposed convolutions, nor
max-pooling of real values, nor a detector's two outputs. Its IF node is used.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import get_args

import torch
from spikingjelly.activation_based.neuron import BaseNode
from torch import Tensor, nn

from emsyolo.convert import calibrate as calibration
from emsyolo.convert.fold import CONVOLUTIONS, fold_normalisation
from emsyolo.convert.pool import AccumulatedMaxPool
from emsyolo.dataset.check import shortlist
from emsyolo.model.detector import Detector
from emsyolo.neuron import integrate
from emsyolo.neuron.quantised import Quantised

ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, Quantised)
LINEAR = (nn.Identity, nn.Upsample, nn.AvgPool2d, nn.ZeroPad2d, nn.ReplicationPad2d, nn.Dropout, nn.Dropout2d)
TOLERANCE = 1e-4  # of a map that should be constant, relative


@dataclass(frozen=True)
class Conversion:
    """How a network is converted, and how it is run.

    Attributes:
        rule: of the neurons, as for `IF`; leaky ReLU takes `imbalanced` in any case.
        normalise, percentile, levels: of the scales, as for `calibrate`; a quantised activation has its own.
        start: potential at the start as a share of the threshold; None: 1/2 for quantised activations, else 0.
        images: training images of the calibration.
        chunk: steps computed together; memory grows with it.
        report: take the error apart, layer by layer.
    """

    rule: integrate.Rule = "plain"
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
        for name in ("images", "chunk", "levels"):
            if getattr(self, name) < 1:
                raise ValueError(f"convert.{name} is {getattr(self, name)}; expected at least 1")


def is_conventional(detector: nn.Module) -> bool:
    """Whether a detector has activations that can be converted."""
    return any(isinstance(one, ACTIVATIONS) for one in detector.modules())


def convert(
    detector: Detector, batches: Callable[[], Iterable[Tensor]], settings: Conversion | None = None
) -> Detector:
    """A spiking detector that computes, as T grows, what a conventional one computes.

    Normalisation is folded; every activation becomes an IF neuron that sends 0 or 1 (or -1), its threshold the scale of
    its channel; what a spike stands for, that scale, is taken into the weights of the convolutions that it feeds, so
    that each input channel of a concatenation carries its own: W~[i,j] = W[i,j] lambda[i], the threshold lambda[j] in
    place of a division by it. Ming and Li, 2024, (15). Max-pooling is replaced by `AccumulatedMaxPool`. The maps are
    read out as the mean of their input current.

    Args:
        detector: trained; is left untouched.
        batches: gives frames `[1, N, C, H, W]` for the calibration, the same whenever it is called.
        settings: None is `Conversion()`.

    Raises:
        ValueError: a layer that cannot be converted, or a convolution whose input is a sum of spikes; names it.
    """
    settings = settings or Conversion()
    spiking = copy.deepcopy(detector).eval()
    spiking.T = 1
    fold_normalisation(spiking)
    _refuse(spiking)
    activations: dict[str, nn.Module] = {n: one for n, one in spiking.named_modules() if isinstance(one, ACTIVATIONS)}
    if not activations:
        raise ValueError("the detector has no ReLU, leaky ReLU or quantised activation; expected one trained as an ANN")
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
            scales[name] = module.scale.detach().expand(len(scales[name])).clone()
    frames = next(iter(batches()))[:, :1]
    _scale_weights(spiking, activations, scales, frames)
    for name, module in activations.items():
        own = (0.5 if isinstance(module, Quantised) else 0.0) if settings.start is None else settings.start
        leaky = isinstance(module, nn.LeakyReLU)
        slope = module.negative_slope if isinstance(module, nn.LeakyReLU) else 0.1
        _replace(spiking, name, integrate.IF(scales[name], own, "imbalanced" if leaky else settings.rule, slope))
    for name, module in list(spiking.named_modules()):
        if isinstance(module, nn.MaxPool2d):
            _replace(spiking, name, AccumulatedMaxPool(module))
    return spiking


def _refuse(network: nn.Module) -> None:
    """Refuse what the conversion does not know."""
    known = (*CONVOLUTIONS, *ACTIVATIONS, *LINEAR, nn.MaxPool2d)
    neurons = [f"{name} ({type(one).__name__})" for name, one in network.named_modules() if isinstance(one, BaseNode)]
    unknown = neurons or [
        f"{name} ({type(module).__name__})"
        for name, module in network.named_modules()
        if not list(module.children()) and not isinstance(module, known) and _computes(module)
    ]
    if unknown:
        raise ValueError(
            f"cannot convert {shortlist(unknown)}; expected ReLU, leaky ReLU or quantised activations, convolutions, "
            "normalisation after them, max-pooling and linear layers"
        )


def _computes(module: nn.Module) -> bool:
    """Whether a leaf comes from elsewhere than this project's linear plumbing (encode, a neck that passes on)."""
    return not type(module).__module__.startswith("emsyolo.model")


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
    """Take what a spike of each input channel stands for into the weights.

    Found by running the network with constants in place of the activations: what a convolution is then fed with is, per
    channel, the scale of the neuron that feeds it, through whatever lies between. In a second run each constant has a
    factor of its own, which tells one neuron's spikes (times one of the factors) from the sum of several neurons'
    (refused). Convolutions fed by the image or by currents stay as they are.
    """
    constants = {name: _Constant(scales[name]) for name in activations}
    for name, constant in constants.items():
        _replace(network, name, constant)
    convolutions = {name: one for name, one in network.named_modules() if isinstance(one, CONVOLUTIONS)}
    seen: dict[str, list[Tensor]] = {name: [] for name in convolutions}

    def keep(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda module, args: seen[name].append(args[0].detach().movedim(-3, 0).flatten(1))

    handles = [module.register_forward_pre_hook(keep(name)) for name, module in convolutions.items()]
    factors = 2 + torch.rand(len(constants), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        network(frames)
        for constant, factor in zip(constants.values(), factors.tolist(), strict=True):
            constant.factor = factor
        network(frames)
    for handle in handles:
        handle.remove()
    with torch.no_grad():
        for name, convolution in convolutions.items():
            once, again = seen[name]
            scale = once.amax(dim=1)
            if ((scale - once.amin(dim=1)).abs() > TOLERANCE * scale.abs()).any() or torch.equal(once, again):
                continue  # currents, or the image
            ratios = again.amax(dim=1) / scale
            if ((ratios[:, None] - factors[None]).abs().amin(dim=1) > TOLERANCE).any():
                raise ValueError(f"cannot convert {name}: the spikes of several layers are added in its input")
            shape = (-1, 1, 1, 1) if isinstance(convolution, nn.ConvTranspose2d) else (1, -1, 1, 1)
            convolution.weight.mul_(scale.view(shape))


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(network.get_submodule(parent), last, module)
