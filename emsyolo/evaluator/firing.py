"""Where in an image the neurons of a network fire, layer by layer and step by step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from emsyolo.model.detector import Detector
from emsyolo.neuron.neuron import spikes_of, waits_for_all
from emsyolo.types import HeadMaps

ALL = "all layers"
SHOWN = 4  # layers, besides all together


@dataclass(frozen=True)
class Glimpse:
    """A network after some steps.

    Attributes:
        maps: what the head gives.
        firing: by layer, in the order of their first run and before them `ALL`: spikes per neuron and step, a 3 counted
            as three and a -1 as one, `[N, h, w]` float32 on the host. Empty: there is no spiking layer.
    """

    maps: HeadMaps
    firing: dict[str, Tensor]


@dataclass
class _Layer:
    """What a layer has sent.

    Attributes:
        neurons: of one image.
        steps: each `[t, N, h, w]`, the mean over channels.
    """

    neurons: int
    steps: list[Tensor] = field(default_factory=list)


def glimpses(
    detector: Detector, frames: Tensor, times: Sequence[int], *, size_hw: tuple[int, int], shown: int = SHOWN
) -> Iterator[Glimpse]:
    """What a network answers after each of several numbers of steps, and where it has fired until then.

    Layers are those that declare spikes (`emsyolo.neuron.neuron.Neuron`) and send maps; of many, some that are evenly
    spread from the first to the last are named.

    Args:
        detector: in evaluation mode.
        frames: `[T0, N, C, H, W]` on its device.
        times: numbers of steps, rising, at most T.
        size_hw: height and width of the maps.
        shown: number of layers that are named, at most.
    """
    layers: dict[str, _Layer] = {}
    hooks = [
        module.register_forward_hook(_observer(name, layers, frames.shape[1], size_hw))
        for name, module in detector.named_modules()
        if spikes_of(module) is not None
    ]
    try:
        for t, maps in zip(times, detector.read(frames, [range(t) for t in times]), strict=True):
            yield Glimpse(maps, _named(layers, t, shown))
            if waits_for_all(detector) is not None:  # every read-out is a pass of its own
                layers.clear()
    finally:
        for hook in hooks:
            hook.remove()


def _observer(name: str, layers: dict[str, _Layer], images: int, size_hw: tuple[int, int]) -> Any:
    def observe(module: nn.Module, args: Any, output: Any) -> None:
        if not isinstance(output, Tensor) or output.ndim != 5 or output.shape[1] != images:
            return
        maps = output.detach().abs().float().mean(dim=2)
        layer = layers.setdefault(name, _Layer(output[0, 0].numel()))
        layer.steps.append(interpolate(maps, size=size_hw, mode="area").cpu())

    return observe


def _named(layers: dict[str, _Layer], steps: int, shown: int) -> dict[str, Tensor]:
    """The means over the first steps, of all layers together and of some."""
    if not layers:
        return {}
    means = {name: torch.cat(layer.steps)[:steps].mean(dim=0) for name, layer in layers.items()}
    total = sum(layer.neurons for layer in layers.values())
    together = torch.stack([means[name] * (layer.neurons / total) for name, layer in layers.items()]).sum(dim=0)
    names = list(means)
    places = np.unique(np.linspace(0, len(names) - 1, min(shown, len(names))).round().astype(int))
    return {ALL: together, **{names[place]: means[names[place]] for place in places}}
