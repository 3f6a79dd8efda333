"""Weights of published SpikeYOLO checkpoints, read into our networks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

# Published layers by number: where they stand in our network, without the blocks of the stages.
LAYERS = {
    9: "backbone.pool", 10: "neck.neck.reduce5", 12: "neck.neck.up4", 14: "neck.neck.reduce4", 16: "neck.neck.up3",
    18: "neck.neck.reduce3", 19: "neck.neck.out3", 20: "neck.neck.down4", 22: "neck.neck.out4", 23: "neck.neck.down5",
    25: "neck.neck.out5",
}  # fmt: skip
STAGES = {1: 0, 3: 1, 5: 2, 7: 3}  # convolutions with stride; their blocks are the next layer
# Parts of layers, as published and as here; a digit of 1 or 2 counts convolutions.
PARTS: list[tuple[str, str | Callable[[re.Match[str]], str]]] = [
    (r"Conv\.pwconv1\.", "separable.1.0."),
    (r"Conv\.bn1\.", "separable.1.1."),
    (r"Conv\.dwconv2\.", "separable.3.0."),
    (r"Conv\.bn2\.", "separable.3.1."),
    (r"Conv\.pwconv3\.body\.0\.bn\.", "separable.5.0.0."),
    (r"Conv\.pwconv3\.body\.1\.0\.", "separable.5.0.1."),
    (r"Conv\.pwconv3\.body\.1\.1\.", "separable.5.0.2."),
    (r"Conv\.bn3\.", "separable.5.1."),
    (r"conv([12])\.conv\.", lambda m: f"mixing.{int(m[1]) - 1}.1."),
    (r"conv([12])\.bn\.", lambda m: f"mixing.{int(m[1]) - 1}.2."),
    (r"conv([12])\.body\.0\.", lambda m: f"mixing.{_behind(m)}.0.0."),
    (r"conv([12])\.body\.1\.bn\.", lambda m: f"mixing.{_behind(m)}.0.1."),
    (r"conv([12])\.body\.2\.([012])\.", lambda m: f"mixing.{_behind(m)}.0.{int(m[2]) + 2}."),
    (r"bn([12])\.", lambda m: f"mixing.{_behind(m)}.1."),
    (r"cv1\.conv\.", "reduce.1."),
    (r"cv1\.bn\.", "reduce.2."),
    (r"cv2\.conv\.", "join.1."),
    (r"cv2\.bn\.", "join.2."),
    (r"conv\.", "1."),
    (r"bn\.", "2."),
]
TOWERS = {"2": "boxes", "3": "classes"}


def _behind(match: re.Match[str]) -> int:
    """The place behind the first or second neuron of a row."""
    return 2 * int(match[1]) - 1


def is_spike_yolo(names: Mapping[str, Any]) -> bool:
    """Whether a state dict has the names of a published SpikeYOLO network."""
    return "model.1.encode_conv.weight" in names


def our_name(published: str) -> str:
    """Our name of a published tensor.

    Raises:
        ValueError: a name that no published SpikeYOLO network has.
    """
    found = re.match(r"^model\.(\d+)\.(?:(\d+)\.)?(.+)$", published)
    name = None if found is None else _placed(int(found[1]), found[2], found[3])
    if name is None:
        raise ValueError(
            f"{published!r} is not a name of a published SpikeYOLO checkpoint; expected model.<layer>.<part>"
        )
    return name


def _placed(layer: int, repeat: str | None, part: str) -> str | None:
    """Where a part of a published layer stands here; None: nowhere."""
    if layer in STAGES:
        first = 0 if layer == 1 else 1  # there is no neuron before the image
        index = {"encode_conv": first, "encode_bn": first + 1}.get(part.split(".")[0])
        return None if index is None else f"backbone.stages.{STAGES[layer]}.0.{index}.{part.split('.', 1)[1]}"
    if layer == 26:
        if part.startswith("dfl."):
            return "head.projection"
        tower = re.match(r"^cv([23])\.(\d)\.(\d)\.(?:(conv|bn)\.)?(.+)$", part)
        if tower is None:
            return None
        kind, level, place, inner, rest = TOWERS[tower[1]], tower[2], tower[3], tower[4], tower[5]
        if place == "2":
            return f"head.maps.{level}.{kind}.{rest if inner is None else part.rsplit('.', 1)[1]}"
        return f"neck.{kind}.{level}.{place}.{1 if inner == 'conv' else 2}.{rest}"
    where = LAYERS.get(layer)
    if where is None and layer - 1 in STAGES:
        where = f"backbone.stages.{STAGES[layer - 1]}.{1 + int(repeat or 0)}"
    elif repeat is not None:
        return None
    for pattern, ours in PARTS:
        if re.match(pattern, part):
            return None if where is None else f"{where}.{re.sub(pattern, ours, part, count=1)}"
    return None


def load_spike_yolo(detector: nn.Module, state_dict: Mapping[str, Tensor]) -> None:
    """Fill a SpikeYOLO detector with a published state dict; the detector is changed only if everything fits.

    Args:
        detector: of the same scale, for example `build_detector(model="spike_yolo_n")`.
        state_dict: names to tensors, as in the published code (`model.1.encode_conv.weight`, ...).

    Raises:
        ValueError: names or shapes that do not fit, each named.
    """
    own = detector.state_dict()
    mapped = {our_name(name): (name, tensor) for name, tensor in state_dict.items()}
    problems = [f"{name} has no place in the detector" for ours, (name, _) in mapped.items() if ours not in own]
    problems += [f"{name} of the detector is not in the state dict" for name in own if name not in mapped]
    problems += [
        f"{name} is {tuple(tensor.shape)}, the detector's {ours} {tuple(own[ours].shape)}"
        for ours, (name, tensor) in mapped.items()
        if ours in own and tensor.numel() != own[ours].numel()
    ]
    if problems:
        shown = "; ".join(sorted(problems)[:8])
        more = f"; and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise ValueError(
            f"the published weights do not fit this detector: {shown}{more}. The scales are spike_yolo_n, s, m, l and "
            "spike_yolo_gen1_s; weights of m and l have model.last_ratio=2"
        )
    detector.load_state_dict({ours: tensor.view_as(own[ours]) for ours, (_, tensor) in mapped.items()})
