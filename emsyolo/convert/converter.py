"""From a trained detector with ReLU, leaky ReLU or the quantised activation to a spiking one.

SpikingJelly's `ann2snn` is not used: its FX converter traces a network of single steps `[N, C, H, W]`, with one
threshold per layer, and knows neither the concatenation of maps of different scales, nor transposed convolutions, nor
max-pooling of real values, nor a detector's two outputs. Its IF node is used.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

from spikingjelly.activation_based.neuron import BaseNode
from torch import Tensor, nn

from emsyolo.convert import calibrate as calibration
from emsyolo.convert.fold import CONVOLUTIONS, fold_normalisation
from emsyolo.convert.pool import AccumulatedMaxPool
from emsyolo.convert.substitute import ACTIVATIONS, CODES, neuron_for, thresholds
from emsyolo.convert.wiring import replace_module, scale_weights
from emsyolo.model.detector import Detector
from emsyolo.neuron.accumulate import levels_of
from emsyolo.text import shortlist

Rule = Literal["plain", "signed", "imbalanced", "delayed", "radix", "ternary"]
LINEAR = (nn.Identity, nn.Upsample, nn.AvgPool2d, nn.ZeroPad2d, nn.ReplicationPad2d, nn.Dropout, nn.Dropout2d)


@dataclass(frozen=True)
class Conversion:
    """How a network is converted, and how it is run.

    Attributes:
        rule: `plain`, `signed` and `imbalanced` fire as their input comes, as `IF` does; `delayed`, `radix` and
            `ternary` accumulate it first, as `AccumulateFire` does. For leaky ReLU `plain` means `imbalanced`.
        T: steps; rules that accumulate are calibrated for them.
        normalise, percentile, levels: of the scales, as for `calibrate`; a quantised activation has its own.
        start: potential at the start as a share of the threshold, or of a level, in [0, 1]; None: 1/2 where a sum is
            rounded (quantised activations, leaky ReLU with signed spikes, rules that accumulate), else 0.
        delay: steps that a neuron that accumulates waits before it fires; None: all.
        images: training images of the calibration.
        correct_biases: add to each channel what its activation lacks in the mean, layer by layer.
        tune_epochs: epochs over those images in which scales and biases are trained to imitate the ANN's maps.
        tune_weights: train the weights, too.
        chunk: steps computed together, at most; memory grows with it. Rules that accumulate need T.
        report: take the error apart, layer by layer.
    """

    rule: Rule = "plain"
    T: int = 64
    normalise: calibration.Rule = "percentile"
    percentile: float = 99.9
    levels: int | None = None
    start: float | None = None
    delay: int | None = None
    images: int = 64
    correct_biases: bool = False
    tune_epochs: int = 0
    tune_weights: bool = False
    chunk: int = 16
    report: bool = False

    def __post_init__(self) -> None:
        if self.rule not in get_args(Rule):
            raise ValueError(f"convert.rule is {self.rule!r}; expected one of {', '.join(get_args(Rule))}")
        for name in ("T", "images", "chunk"):
            if getattr(self, name) < 1:
                raise ValueError(f"convert.{name} is {getattr(self, name)}; expected at least 1")
        if self.levels is not None and self.levels < 1:
            raise ValueError(f"convert.levels is {self.levels}; expected at least 1, or null for those of T steps")
        if self.start is not None and not 0 <= self.start <= 1:
            raise ValueError(f"convert.start is {self.start}; expected a share of the threshold in [0, 1], or null")
        if self.delay is not None and (self.delay < 0 or self.rule not in CODES):
            raise ValueError(
                f"convert.delay is {self.delay} and convert.rule {self.rule!r}; expected steps, at least 0, of "
                f"one of {', '.join(CODES)}, or null"
            )
        if (self.correct_biases or self.tune_epochs) and not self.rounds:
            raise ValueError(
                f"convert.correct_biases={self.correct_biases}, tune_epochs={self.tune_epochs} with convert.rule="
                f"{self.rule!r}, delay={self.delay}; expected one of {', '.join(CODES)}, whose neurons send rounded "
                "activations, and all of the delay (null)"
            )

    @property
    def rounds(self) -> bool:
        """Whether what its neurons send in the end is the activation, rounded."""
        return self.rule in CODES and (self.delay is None or self.delay >= self.T - 1)

    @property
    def own_levels(self) -> int:
        """How many levels T steps tell apart."""
        return levels_of(CODES.get(self.rule, "even"), self.T)


def is_conventional(detector: nn.Module) -> bool:
    """Whether a detector has activations that can be converted."""
    return any(isinstance(module, ACTIVATIONS) for module in detector.modules())


def convert(
    detector: Detector, batches: Callable[[], Iterable[Tensor]], settings: Conversion | None = None
) -> Detector:
    """A spiking detector that computes, as T grows, what a conventional one computes.

    Normalisation is folded; every activation becomes a neuron that sends 0 or 1 (or -1), its threshold the scale of its
    channel; what a spike stands for, that scale, is taken into the weights of the convolutions that it feeds, so
    that each input channel of a concatenation carries its own: W~[i,j] = W[i,j] lambda[i], the threshold lambda[j] in
    place of a division by it. Ming and Li, 2024, (15). Max-pooling is replaced by `AccumulatedMaxPool`. The maps are
    read out as the mean of their input current. The error falls as 1/T (of `radix` as 1/2^T, of `ternary` as 1/3^T),
    but for imbalanced neurons whose currents swing so far that they send spikes of both signs: a negative one gives
    back more than a positive one takes.

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
    scales, biases = thresholds(
        spiking, lambda x: spiking(x).maps, activations, partial(replace_module, spiking), batches, settings
    )
    frames = next(iter(batches()))[:, :1]
    scale_weights(spiking, activations, scales, frames)
    _make_spiking(spiking, activations, scales, biases, settings)
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
    scales = {name: state[f"{name}.scale"] for name in activations}
    biases = {name: state[f"{name}.bias"] for name in activations if f"{name}.bias" in state}
    _make_spiking(spiking, activations, scales, biases, settings)
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
    network: Detector,
    activations: Mapping[str, nn.Module],
    scales: Mapping[str, Tensor],
    biases: Mapping[str, Tensor],
    settings: Conversion,
) -> None:
    """Put neurons in the places of activations, and max-pooling in time in those of max-pooling."""
    for name, module in activations.items():
        replace_module(network, name, neuron_for(name, module, scales[name], biases.get(name), settings))
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.MaxPool2d):
            replace_module(network, name, AccumulatedMaxPool(module, CODES.get(settings.rule, "even")))
    network.chunk = settings.chunk


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
