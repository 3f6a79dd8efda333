"""Published EMS-YOLO networks: recorded outputs, parameter counts and keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ems_official_fill import tensor_for

from emsyolo.app import build_detector
from emsyolo.model.postprocess import decode
from emsyolo.weights.official import load_official

HERE = Path(__file__).parent / "ems_official"
NETWORKS: dict[str, dict[str, Any]] = {
    "resnet18": {"model": "ems_resnet18", "num_classes": 20, "overrides": ["model.head_activation=silu"]},
    "resnet34": {"model": "ems_resnet34", "num_classes": 80},
    "resnet34-cat": {"model": "ems_resnet34_cat", "num_classes": 80, "overrides": ["model.head_activation=silu"]},
}


def published(name: str, recorded: Any) -> dict[str, torch.Tensor]:
    """A state dict with the published keys and shapes, filled from the names."""
    keys = json.loads((HERE / f"{name}_keys.json").read_text())
    state = {key: torch.as_tensor(tensor_for(key, tuple(shape))) for key, shape in keys}
    state["model.15.anchors"] = torch.as_tensor(recorded[f"{name}/anchors"])
    return state


@pytest.mark.parametrize("name", NETWORKS)
def test_maps_and_boxes_are_the_recorded_ones(name: str) -> None:
    recorded = np.load(HERE / "outputs_T4.npz")
    detector = build_detector(T=4, **NETWORKS[name]).double().eval()
    load_official(detector, published(name, recorded))
    frames = torch.as_tensor(np.random.default_rng(7).random((2, 3, 64, 64)))[None]
    with torch.no_grad():
        maps = detector(frames)
    for level, raw in enumerate(maps.maps):
        np.testing.assert_allclose(raw.numpy(), recorded[f"{name}/raw{level}"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(decode(maps).numpy(), recorded[f"{name}/decoded"], rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("model", "num_classes", "overrides", "count"),
    [  # counted from the published code
        ("ems_resnet10", 80, [], 17_561_662),
        ("ems_resnet34", 80, [], 34_027_454),
        ("ems_resnet34_cat", 80, ["model.head_activation=silu"], 25_449_022),
        ("ems_resnet18", 20, ["model.head_activation=silu"], 15_289_174),
    ],
)
def test_parameter_counts(model: str, num_classes: int, overrides: list[str], count: int) -> None:
    detector = build_detector(model=model, num_classes=num_classes, T=4, overrides=overrides)
    assert sum(p.numel() for p in detector.parameters()) == count


@pytest.mark.parametrize("change", ["missing", "extra", "shape", "alien", "depth"])
def test_what_does_not_fit_is_named_and_changes_nothing(change: str) -> None:
    recorded = np.load(HERE / "outputs_T4.npz")
    detector = build_detector(T=1, **NETWORKS["resnet18"])
    before = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    state = published("resnet18", recorded)
    name = "model.7.shortcut.2.weight"
    if change == "missing":
        del state[name]
        said = r"backbone\.stages\.3\.0\.shortcut\.2\.weight of the detector is not in the state dict"
    elif change == "extra":
        state["model.7.shortcut.9.weight"] = torch.zeros(3)
        said = r"model\.7\.shortcut\.9\.weight has no place"
    elif change == "shape":
        state[name] = torch.zeros(512, 255, 1, 1)
        said = rf"{name} is \(512, 255, 1, 1\)"
    elif change == "alien":
        state["backbone.conv1.weight"] = torch.zeros(3)
        said = "is not a name of a published EMS-YOLO checkpoint"
    else:
        state = {key: value for key, value in state.items() if not key.startswith("model.8.")}
        said = "has 13 layers with weights, the detector 14"
    with pytest.raises(ValueError, match=said):
        load_official(detector, state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in detector.state_dict().items())
