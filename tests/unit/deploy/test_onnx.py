"""Networks as ONNX graphs, run by ONNX Runtime."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from emsyolo.app import build_detector
from emsyolo.deploy.onnx import compare, export_step, export_whole
from emsyolo.model.detector import Detector

ABOUT = {"class_names": ["a", "b"], "T": 3}


def network(model: str) -> Detector:
    torch.manual_seed(0)
    detector = build_detector(model, 2, 3, ["model.width=0.125", "model.depth=10"]).eval()
    for one in detector.modules():
        if isinstance(one, nn.BatchNorm2d):
            one.running_mean.normal_(0, 0.2)
            one.bias.data.normal_(0, 0.3)
    return detector


@pytest.mark.slow
@pytest.mark.parametrize("model", ["ems_resnet34_cat"])
def test_both_graphs_give_what_the_network_gives(tmp_path: Path, model: str) -> None:
    detector, frames = network(model), torch.rand(1, 2, 3, 64, 96)
    before = {name: one.clone() for name, one in detector.state_dict().items()}
    export_whole(detector, frames, tmp_path / "a.onnx", ABOUT)
    export_step(detector, frames[0], tmp_path / "a.step.onnx", ABOUT)
    assert max(compare(detector, frames, tmp_path / "a.onnx", tmp_path / "a.step.onnx").values()) < 1e-3
    # Another number of images than that of the example.
    assert compare(detector, torch.rand(1, 5, 3, 64, 96), tmp_path / "a.onnx", None)["whole"] < 1e-3
    assert detector.T == 3
    assert all(torch.equal(one, before[name]) for name, one in detector.state_dict().items())
    (entry,) = onnx.load(tmp_path / "a.onnx").metadata_props
    assert json.loads(entry.value) == ABOUT
    inputs = [one.name for one in onnxruntime.InferenceSession(tmp_path / "a.step.onnx").get_inputs()]
    assert inputs[:2] == ["frame", "backbone.stages.0.0.residual.0"]


@pytest.mark.slow
def test_event_frames_are_a_sequence(tmp_path: Path) -> None:
    detector, frames = network("ems_resnet34"), torch.rand(3, 1, 3, 64, 64)
    export_whole(detector, frames, tmp_path / "a.onnx", ABOUT)
    assert compare(detector, frames, tmp_path / "a.onnx", None)["whole"] < 1e-3


def test_a_network_without_spikes_has_no_step(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no spiking neuron"):
        export_step(network("ann_resnet18"), torch.rand(1, 3, 64, 64), tmp_path / "a.onnx", ABOUT)
