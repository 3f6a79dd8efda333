"""Starting a training from weights of another: other classes, another threshold, an ANN twin."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from emsyolo.types import Layout
from emsyolo.weights.checkpoint import Weights, load_weights

HEAD, MAPS = "head.", "head.maps."
SCALES = "scales"
# What may be added to a trained detector, by the pattern of its tensors' names.
ADDED = {"temporal": "temporal.*", "decays": "*.leak.logit", SCALES: "*.scale"}


@dataclass(frozen=True)
class Transfer:
    """What came from the file and what did not.

    Attributes:
        kept: classes whose maps were taken, by name.
        new: classes whose maps are those of a fresh network.
        scale: what the normalisations were multiplied by.
        added: what the file does not have and is that of a fresh network: `temporal`, `decays` of neurons that train
            them, `scales` of quantised activations.
    """

    kept: tuple[str, ...]
    new: tuple[str, ...]
    scale: float
    added: tuple[str, ...] = ()


def transfer(detector: nn.Module, weights: Weights, class_names: Sequence[str], *, scale: float = 1.0) -> Transfer:
    """Fill a detector with the weights of one that may have other classes and another scale of its currents.

    Backbone and neck are taken whole, and so are box and objectness in the maps. Of the classes, those that both have
    by name are taken; the others stay as initialised. The anchors stay the detector's own: an anchor takes over the
    maps of the one in its place. With another number of anchors per level, or another kind of head, the maps stay as
    initialised. A temporal part, and decays of neurons that are trained, stay as initialised where the file has none.

    `scale` carries an ANN's weights over to a spiking network: what comes out of its normalisations was made for an
    activation with threshold 1 and now meets `v_threshold`. Their weights and biases are multiplied, running statistics
    follow, and the maps are divided. (Of a network of ReLUs this changes nothing that comes out.)

    Args:
        detector: changed in place, if all fits.
        weights: of a detector of the same architecture.
        class_names: of the detector, in its order.
        scale: threshold here by threshold there, > 0.

    Raises:
        ValueError: names or shapes that differ elsewhere than in the classes: another architecture.
    """
    own = detector.state_dict()
    head: Any = detector.get_submodule("head")
    layout: Layout = head.layout
    starts = {f"{HEAD}{name}.{part}": start for name, start in head.map_starts.items() for part in ("weight", "bias")}
    theirs = list(weights.config["class_names"])
    common = [name for name in class_names if name in theirs]
    state = {name: tensor.clone() for name, tensor in weights.state.items()}
    there = layout.with_classes(len(theirs))
    same_layout = all(
        name in state and _fits(own[name], state[name], start, layout, there) for name, start in starts.items()
    )
    if not same_layout:
        common = []
        state = {name: tensor for name, tensor in state.items() if not name.startswith(HEAD)}
    added = []
    for part, pattern in ADDED.items():
        mine = fnmatch.filter(own, pattern)
        if mine and not fnmatch.filter(state, pattern):
            added.append(part)
            state |= {name: own[name] for name in mine}
    for name in own:
        if name in starts and same_layout:
            state[name] = _map(own[name], state[name], starts[name], (layout, there), list(class_names), theirs)
        elif name.startswith(HEAD):  # what the maps mean, such as anchors, is the detector's own
            state[name] = own[name]
    if scale != 1:
        _rescale(detector, state, scale)
    load_weights(detector, Weights(weights.path, state, weights.config))
    return Transfer(tuple(common), tuple(name for name in class_names if name not in common), scale, tuple(added))


def _rows(layout: Layout, start: int, channels: int) -> list[list[int]]:
    """By class, the channels that it has among those of a convolution, whose first is `start` of its level."""
    return [[row - start for row in rows if 0 <= row - start < channels] for rows in layout.class_rows().tolist()]


def _fits(own: Tensor, theirs: Tensor, start: int, layout: Layout, there: Layout) -> bool:
    """Whether a map differs from theirs only by classes."""
    others = [len(x) - sum(map(len, _rows(of, start, len(x)))) for x, of in ((own, layout), (theirs, there))]
    return others[0] == others[1]


def _map(
    own: Tensor, theirs: Tensor, start: int, layouts: tuple[Layout, Layout], names: list[str], their_names: list[str]
) -> Tensor:
    """One map's weight or bias `[channels, ...]`, of theirs what belongs to no class or to one that both have."""
    if theirs.shape[1:] != own.shape[1:]:
        return theirs  # another width, which load_weights refuses by name
    rows, their_rows = _rows(layouts[0], start, len(own)), _rows(layouts[1], start, len(theirs))
    here = own.clone()
    here[_others(rows, len(own))] = theirs[_others(their_rows, len(theirs))]
    for name in names:
        if name in their_names:
            here[rows[names.index(name)]] = theirs[their_rows[their_names.index(name)]]
    return here


def _others(rows: list[list[int]], channels: int) -> Tensor:
    """The channels that belong to no class, `[channels]` bool."""
    other = torch.ones(channels, dtype=torch.bool)
    other[[row for of_class in rows for row in of_class]] = False
    return other


def _rescale(detector: nn.Module, state: dict[str, Tensor], scale: float) -> None:
    norms = [name for name, module in detector.named_modules() if isinstance(module, nn.BatchNorm2d)]
    for i, name in enumerate(norms):
        for part in ("weight", "bias"):
            state[f"{name}.{part}"] = state[f"{name}.{part}"] * scale
        if i:  # the first normalises what comes from the frames
            state[f"{name}.running_mean"] = state[f"{name}.running_mean"] * scale
            state[f"{name}.running_var"] = state[f"{name}.running_var"] * scale**2
    for name in state:
        if name.startswith(MAPS) and name.endswith(".weight"):
            state[name] = state[name] / scale
