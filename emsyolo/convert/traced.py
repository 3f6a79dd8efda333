"""From any torch module of convolutions and ReLU to a spiking one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from emsyolo.convert.converter import Conversion
from emsyolo.convert.graph import Traced, trace
from emsyolo.convert.in_time import InTime
from emsyolo.convert.pool import AccumulatedMaxPool
from emsyolo.convert.substitute import CODES, neuron_for, thresholds
from emsyolo.model.encode import Encode
from emsyolo.neuron.accumulate import levels_of, step_weights
from emsyolo.neuron.neuron import waits_for_all
from emsyolo.neuron.state import forget

SAME = 0.01  # of the outputs' deviation, root mean square: a level of a quantised activation may be another


def convert_module(
    module: nn.Module, batches: Callable[[], Iterable[Tensor]], settings: Conversion | None = None
) -> SpikingModule:
    """A spiking module that gives, as T grows, the outputs of a conventional one.

        >>> import torch
        >>> from torch import nn
        >>> from emsyolo.convert.converter import Conversion
        >>> from emsyolo.convert.traced import convert_module
        >>> yours = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 5, 3))
        >>> images = torch.rand(4, 3, 32, 48)
        >>> spiking = convert_module(yours, lambda: [images], Conversion(rule="radix", T=8, normalise="max"))
        >>> bool((spiking(images) - yours.eval()(images)).abs().max() < 0.02)
        True

    The module is traced by torch.fx. Normalisation is taken into the layer before it, or becomes a 1x1 convolution;
    every call of an activation becomes a neuron that sends 0 or 1 (or -1), with a threshold per channel; max-pooling
    becomes `AccumulatedMaxPool`. All else is linear, is applied to every step, and stays. A spike carries its neuron's
    threshold (of waiting neurons, its share of it in levels), so that spikes, currents and real values may be added and
    concatenated; hardware takes that factor into the weights of the readers, branch by branch. Where a module calls the
    same activation many times, as heads that are shared by scales do, every call has neurons and thresholds of its own.

    The error falls as that of `convert` does, down to what the calibration clips: `normalise="max"` clips nothing of
    its images, `mean_square` the less the more levels T steps tell apart.

    What torch.fx cannot trace, such as the resizing, anchors and NMS of a detector, stays outside: convert the part
    from images to maps, of torchvision's detectors `DetectorMaps`.

    Args:
        module: trained; one argument, images `[N, C, H, W]` float, to tensors `[N, *]` in tuples, lists or dicts. It is
            converted as it is in evaluation mode, and left untouched.
        batches: gives images for the calibration, the same whenever it is called.
        settings: None is `Conversion()`; `images` and `report` are not read.

    Raises:
        ValueError: what cannot be traced, which says where; operations that cannot be converted, all of them named; an
            activation that does not go with the rule; a module that mixes the images of a batch; no batch.
    """
    settings = settings or Conversion()
    traced = trace(module)
    _check_same(module, traced, next(iter(batches()), None))
    activations = {name: site.layer for name, site in traced.sites.items()}

    def put(name: str, layer: nn.Module) -> None:
        traced.sites[name].layer = layer

    scales, biases = thresholds(traced.network, traced.outputs, activations, put, batches, settings)
    for name, activation in activations.items():
        put(name, neuron_for(name, activation, scales[name], biases.get(name), settings))
    for place in traced.pools:
        place.layer = AccumulatedMaxPool(place.layer, CODES.get(settings.rule, "even"))
    return SpikingModule(traced, settings)


class SpikingModule(nn.Module):
    """A converted module: the same images at every step, and its outputs read out in the mean over time.

    Steps count by what a spike of each stands for. It keeps nothing between calls, stays in evaluation mode and gives
    no gradients.

    Args:
        traced: with neurons in the places of activations.
        settings: that it was converted with.
    """

    def __init__(self, traced: Traced, settings: Conversion) -> None:
        super().__init__()
        self.encode = Encode(settings.T)
        self.network = traced.network
        self.chunk = None if settings.rule in CODES else settings.chunk
        self._code = CODES.get(settings.rule, "even")
        self._structure = traced.structure
        self._moving = traced.moving
        self._in_a_row = traced.in_a_row
        self.eval()

    @property
    def T(self) -> int:
        """Steps; may be set at any time, though rules that accumulate are calibrated for those of the conversion."""
        return self.encode.T

    @T.setter
    def T(self, steps: int) -> None:
        self.encode.T = steps

    @property
    def latency_steps(self) -> int:
        """Steps until the answer: T, and what every neuron in a row waits."""
        waiting = waits_for_all(self)
        return self.T + (0 if waiting is None else self._in_a_row * waiting.wait(self.T))

    def train(self, mode: bool = True) -> SpikingModule:
        """Nothing: what is converted is the module in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Any:
        """The outputs of the module that was converted, in its own structure, for images `[N, C, H, W]` float."""
        _check_images(images)
        shares = step_weights(self._code, self.T, images.device) / levels_of(self._code, self.T)
        sums: list[Any] = [0.0] * len(self._moving)
        forget(self)
        for some in shares.split(self.chunk or self.T):
            for layer in self.network.modules():
                if isinstance(layer, InTime):
                    layer.steps = len(some)
            steps = self.encode(images[None], images.dtype, len(some)).flatten(0, 1)
            for i, value in enumerate(self.network(steps)):
                sums[i] = sums[i] + _weighed(value, some) if self._moving[i] else value
        forget(self)
        return pytree.tree_unflatten(sums, self._structure)


def _weighed(value: Tensor, shares: Tensor) -> Tensor:
    """The sum over steps of `[T * N, *]`, each by its share: `[N, *]`."""
    by_step = value.unflatten(0, (len(shares), len(value) // len(shares)))
    return (by_step * shares.to(value.dtype).view(-1, *[1] * value.ndim)).sum(dim=0)


class DetectorMaps(nn.Module):
    """What a detector of torchvision computes between the resizing and the anchors, for `convert_module`.

    Args:
        detector: with a `backbone` and a `head` of lists of maps: RetinaNet, SSD, SSDlite, FCOS.

    Raises:
        ValueError: a detector without these, such as Faster R-CNN, which pools regions in between.
    """

    backbone: nn.Module
    head: nn.Module

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        for part in ("backbone", "head"):
            if not isinstance(getattr(detector, part, None), nn.Module):
                raise ValueError(
                    f"{type(detector).__name__} has no {part}; expected a detector of one stage, such as torchvision's "
                    "RetinaNet or SSDlite"
                )
            self.add_module(part, getattr(detector, part))

    def forward(self, images: Tensor) -> Any:
        """The head's outputs for images `[N, C, H, W]`, resized and normalised."""
        return self.head(list(self.backbone(images).values()))


def _check_images(images: Tensor) -> None:
    if images.ndim != 4 or not images.is_floating_point():
        raise ValueError(
            f"images are {tuple(images.shape)} of {images.dtype}; expected [N, C, H, W] float, as the module that was "
            "converted takes them"
        )


@torch.no_grad()
def _check_same(module: nn.Module, traced: Traced, images: Tensor | None) -> None:
    """Refuse a module whose graph gives, for two images together, other outputs than the module for each of them."""
    if images is None:
        raise ValueError("calibration: no batch; expected at least one of images")
    _check_images(images)
    one, other = images[:1], images[:1].flip(-1) / 2
    exact = copy.deepcopy(module).eval()
    wanted = [pytree.tree_leaves(exact(x)) for x in (one, other)]
    try:
        both = traced.network(torch.cat((one, other)))
    except RuntimeError as error:
        raise ValueError(
            f"{type(module).__name__}, given two images where there was one: {error}; expected a forward for any "
            "number of images"
        ) from error
    for i, (found, *true) in enumerate(zip(both, *wanted, strict=True)):
        if not traced.moving[i]:
            same = all(found is one or bool(torch.as_tensor(found == one).all()) for one in true)
        elif any(value.shape[:1] != (1,) for value in true) or found.shape != (2, *true[0].shape[1:]):
            same = False
        else:
            expected = torch.cat(true)
            spread = (expected - expected.mean()).square().mean().sqrt() + 1e-4 * expected.abs().mean()
            same = not (found - expected).square().mean().sqrt() > SAME * spread  # what is not finite, calibration says
        if not same:
            raise ValueError(
                f"output {i} of {type(module).__name__}: what was traced gives something else, or not [N, *] of N "
                "images; expected a forward whose operations depend on no values, without hooks, that mixes no images"
            )
