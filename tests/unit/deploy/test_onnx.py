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
from emsyolo.deploy.onnx import Agreement, compare, export_step, export_whole
from emsyolo.model.detector import Detector
from emsyolo.model.postprocess import Postprocess

ABOUT = {"class_names": ["a", "b"], "T": 3}


POSTPROCESS = Postprocess()


def agree(*graphs: Agreement) -> None:
    for one in graphs:
        assert one.apart < 1e-3
        assert one.alike == one.detections > 0


def network(model: str, *overrides: str) -> Detector:
    torch.manual_seed(0)
    detector = build_detector(model, 2, 3, ["model.width=0.125", "model.depth=10", *overrides]).eval()
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
    found = compare(detector, frames, POSTPROCESS, tmp_path / "a.onnx", tmp_path / "a.step.onnx")
    assert found.keys() == {"whole", "step"}
    agree(*found.values())
    # Another number of images than that of the example.
    agree(*compare(detector, torch.rand(1, 5, 3, 64, 96), POSTPROCESS, tmp_path / "a.onnx", None).values())
    assert detector.T == 3
    assert all(torch.equal(one, before[name]) for name, one in detector.state_dict().items())
    (entry,) = onnx.load(tmp_path / "a.onnx").metadata_props
    assert json.loads(entry.value) == ABOUT
    detector.head.maps[0].bias.data += 0.1  # no longer the network of the graph
    other = compare(detector, frames, POSTPROCESS, tmp_path / "a.onnx", None)["whole"]
    assert other.apart > 0.1
    assert other.alike < other.detections
    inputs = [one.name for one in onnxruntime.InferenceSession(tmp_path / "a.step.onnx").get_inputs()]
    assert inputs[:2] == ["frame", "backbone.stages.0.0.residual.0"]


@pytest.mark.slow
def test_event_frames_are_a_sequence_and_potentials_may_start_above_0(tmp_path: Path) -> None:
    detector, frames = network("ems_resnet34", "neuron.start=0.5"), torch.rand(3, 1, 3, 64, 64)
    export_whole(detector, frames, tmp_path / "a.onnx", ABOUT)
    export_step(detector, frames[0], tmp_path / "a.step.onnx", ABOUT)
    agree(*compare(detector, frames, POSTPROCESS, tmp_path / "a.onnx", tmp_path / "a.step.onnx").values())


def test_a_network_without_spikes_has_no_step(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no spiking neuron"):
        export_step(network("ann_resnet18"), torch.rand(1, 3, 64, 64), tmp_path / "a.onnx", ABOUT)
