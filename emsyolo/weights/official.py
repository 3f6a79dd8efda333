"""Weights of published checkpoints, read into our networks."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from emsyolo.weights.official_spike_yolo import is_spike_yolo, load_spike_yolo

# A published parameter belongs to a layer group: `model.0`, or `model.6.2` where a stage repeats a block.
_GROUP = re.compile(r"^model\.(\d+)(?:\.(\d+))?\.(conv|bn|residual_function|shortcut|anchors|m)\b(.*)$")


def _groups(names: Mapping[str, Tensor]) -> list[dict[str, str]]:
    """Published names by layer group, in the network's order: each {name within the group: published name}."""
    groups: dict[tuple[int, int], dict[str, str]] = {}
    for name in names:
        match = _GROUP.match(name)
        if match is None:
            raise ValueError(
                f"{name!r} is not a name of a published EMS-YOLO checkpoint; expected model.<layer>.<part>"
            )
        layer, repeat, part, rest = match.groups()
        groups.setdefault((int(layer), int(repeat or 0)), {})[part + rest] = name
    return [groups[key] for key in sorted(groups)]


def _our_groups(detector: nn.Module) -> list[str]:
    """The prefixes of our modules in the published order of layers."""
    stages = [
        f"backbone.stages.{i}.{j}"
        for i, stage in detector.get_submodule("backbone.stages").named_children()
        for j, _ in stage.named_children()
    ]
    return ["backbone.stem", *stages, "neck.reduce", "neck.last5", "neck.lateral", "neck.last4", "head"]


def _our_name(prefix: str, part: str, concatenates: bool) -> str:
    """Our name of a published parameter, given the prefix of its module."""
    name = part.replace("bn.bn.", "bn.").replace(".bn.", ".")
    name = name.replace("residual_function.", "residual.")
    if concatenates:
        name = name.replace("shortcut.", "new.")
    name = re.sub(r"^conv\.", "0.", name)
    name = re.sub(r"^bn\.", "1.", name)
    name = re.sub(r"^m\.", "maps.", name)
    return f"{prefix}.{name}"


def load_official(detector: nn.Module, state_dict: Mapping[str, Tensor]) -> None:
    """Fill a detector with a published state dict: EMS-YOLO's resnet10, 18, 34 or 34-cat, or SpikeYOLO's of any scale.

    The published anchors, in units of the stride, become pixels. The detector is changed only if everything fits.

    Args:
        detector: of the same network, for example `build_detector(model="ems_resnet34_cat",
            overrides=["model.head_activation=silu"])`; resnet18 and resnet34-cat need that override; or
            `build_detector(model="spike_yolo_n")`.
        state_dict: names to tensors, as in the published code (`model.0.conv.weight`, ...).

    Raises:
        ValueError: names or shapes that do not fit, each named.
    """
    if is_spike_yolo(state_dict):
        load_spike_yolo(detector, state_dict)
        return
    own = detector.state_dict()
    published, prefixes = _groups(state_dict), _our_groups(detector)
    if len(published) != len(prefixes):
        raise ValueError(
            f"the state dict has {len(published)} layers with weights, the detector {len(prefixes)}: another depth; "
            "the published networks are ems_resnet10, ems_resnet18, ems_resnet34 and ems_resnet34_cat"
        )
    mapped: dict[str, Tensor] = {}
    source: dict[str, str] = {}
    for prefix, group in zip(prefixes, published, strict=True):
        concatenates = f"{prefix}.new.1.weight" in own
        for part, name in group.items():
            ours = _our_name(prefix, part, concatenates)
            mapped[ours], source[ours] = state_dict[name], name
    if "head.anchors" in mapped:
        strides = torch.tensor(detector.get_submodule("head").strides).view(-1, 1, 1)
        mapped["head.anchors"] = mapped["head.anchors"] * strides
    problems = [f"{source[n]} has no place in the detector" for n in mapped.keys() - own.keys()]
    problems += [f"{n} of the detector is not in the state dict" for n in own.keys() - mapped.keys()]
    problems += [
        f"{source[n]} is {tuple(t.shape)}, the detector's {n} {tuple(own[n].shape)}"
        for n, t in mapped.items()
        if n in own and t.shape != own[n].shape
    ]
    if problems:
        shown = "; ".join(sorted(problems)[:8])
        more = f"; and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise ValueError(f"the published weights do not fit this detector: {shown}{more}")
    detector.load_state_dict(mapped)
