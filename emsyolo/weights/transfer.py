"""Starting a training from weights of another: other classes, another threshold, an ANN twin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from emsyolo.weights.checkpoint import Weights, load_weights

BOX_ROWS = 5  # of a map, before the classes: x, y, w, h, objectness
ANCHORS = "head.anchors"
MAPS = "head.maps."


@dataclass(frozen=True)
class Transfer:
    """What came from the file and what did not.

    Attributes:
        kept: classes whose maps were taken, by name.
        new: classes whose maps are those of a fresh network.
        scale: what the normalisations were multiplied by.
    """

    kept: tuple[str, ...]
    new: tuple[str, ...]
    scale: float


def transfer(detector: nn.Module, weights: Weights, class_names: Sequence[str], *, scale: float = 1.0) -> Transfer:
    """Fill a detector with the weights of one that may have other classes and another scale of its currents.

    Backbone and neck are taken whole, and so are box and objectness in the maps. Of the classes, those that both have
    by name are taken; the others stay as initialised. The anchors stay the detector's own: an anchor takes over the
    maps of the one in its place. With another number of anchors per level nothing of the maps is taken.

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
    theirs = list(weights.config["class_names"])
    common = [name for name in class_names if name in theirs]
    state = {name: tensor.clone() for name, tensor in weights.state.items()}
    state[ANCHORS] = own[ANCHORS]
    same_anchors = weights.state[ANCHORS].shape == own[ANCHORS].shape
    if not same_anchors:
        common = []
    for name in own:
        if name.startswith(MAPS) and name in state:
            state[name] = _map(own[name], state[name], list(class_names), theirs, common) if same_anchors else own[name]
    if scale != 1:
        _rescale(detector, state, scale)
    load_weights(detector, Weights(weights.path, state, weights.config))
    return Transfer(tuple(common), tuple(name for name in class_names if name not in common), scale)


def _map(own: Tensor, theirs: Tensor, names: list[str], their_names: list[str], common: list[str]) -> Tensor:
    """One map's weight or bias: rows of A * (5 + K)."""
    there = theirs.unflatten(0, (-1, BOX_ROWS + len(their_names)))
    here = own.clone().unflatten(0, (-1, BOX_ROWS + len(names)))
    if there.shape[2:] != here.shape[2:] or len(there) != len(here):
        return theirs  # another width, which load_weights refuses by name
    here[:, :BOX_ROWS] = there[:, :BOX_ROWS]
    for name in common:
        here[:, BOX_ROWS + names.index(name)] = there[:, BOX_ROWS + their_names.index(name)]
    return here.flatten(0, 1)


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
