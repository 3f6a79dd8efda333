"""Networks as ONNX graphs, run by ONNX Runtime."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from emsyolo.app import build_detector
from emsyolo.deploy.export import Agreement, agreement
from emsyolo.deploy.onnx import Onnx
from emsyolo.model.detector import Detector
from emsyolo.model.postprocess import Postprocess
from emsyolo.neuron.ilif import ILIF

ABOUT = {"class_names": ["a", "b"], "T": 2}


POSTPROCESS = Postprocess()


def agree(*graphs: Agreement) -> None:
    for one in graphs:
        assert one.apart < 1e-3
        assert one.alike == one.detections > 0


def network(model: str, *overrides: str) -> Detector:
    torch.manual_seed(0)
    detector = build_detector(model, 2, 2, ["model.width=0.125", "model.depth=10", *overrides]).eval()
    for one in detector.modules():
        if isinstance(one, nn.BatchNorm2d):
            one.running_mean.normal_(0, 0.2)
            one.bias.data.normal_(0, 0.3)
    return detector


def compare(detector: Detector, frames: torch.Tensor, written: list[Path]) -> list[Agreement]:
    with torch.no_grad():
        expected = detector(frames).candidates()
    return [agreement(one, expected, POSTPROCESS) for one in Onnx().run(written, detector, frames).values()]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["ems_resnet34_cat"])
def test_both_graphs_give_what_the_network_gives(tmp_path: Path, model: str) -> None:
    detector, frames = network(model), torch.rand(1, 2, 3, 64, 96)
    before = {name: one.clone() for name, one in detector.state_dict().items()}
    written = Onnx().write(detector, frames, tmp_path / "a.onnx", ABOUT)
    assert [one.name for one in written] == ["a.onnx", "a.step.onnx"]
    found = compare(detector, frames, written)
    assert len(found) == 2
    agree(*found)
    # Another number of images than that of the example.
    agree(*compare(detector, torch.rand(1, 5, 3, 64, 96), written[:1]))
    assert detector.T == 2
    assert all(torch.equal(one, before[name]) for name, one in detector.state_dict().items())
    (entry,) = onnx.load(tmp_path / "a.onnx").metadata_props
    about = json.loads(entry.value)
    assert {key: about[key] for key in ABOUT} == ABOUT
    assert about["strides"] == [16, 32]
    detector.head.maps[0].bias.data += 0.1  # no longer the network of the graph
    (other,) = compare(detector, frames, written[:1])
    assert other.apart > 0.01
    assert other.alike < other.detections
    inputs = [one.name for one in onnxruntime.InferenceSession(tmp_path / "a.step.onnx").get_inputs()]
    assert inputs[:2] == ["frame", "backbone.stages.0.0.residual.0"]
    outputs = [one.name for one in onnxruntime.InferenceSession(tmp_path / "a.onnx").get_outputs()]
    assert outputs == ["boxes", "scores"]


@pytest.mark.slow
def test_event_frames_are_a_sequence_and_potentials_may_start_above_0(tmp_path: Path) -> None:
    detector, frames = network("ems_resnet34", "neuron.start=0.5"), torch.rand(2, 1, 3, 64, 64)
    agree(*compare(detector, frames, Onnx().write(detector, frames, tmp_path / "a.onnx", ABOUT)))


@pytest.mark.slow
@pytest.mark.parametrize("neuron", ["ILIFNode", "ParametricLIFNode"])
def test_spikingjellys_neurons_are_exported(tmp_path: Path, neuron: str) -> None:
    target = f"neuron={{_target_:spikingjelly.activation_based.neuron.{neuron},_partial_:true}}"
    detector = network("ems_resnet10", f"model.{target}")
    frames = torch.rand(1, 2, 3, 64, 64)
    agree(*compare(detector, frames, Onnx(step=False).write(detector, frames, tmp_path / "a.onnx", ABOUT)))


def test_a_network_without_spikes_has_no_step(tmp_path: Path) -> None:
    detector = network("ann_resnet18")
    assert Onnx().write(detector, torch.rand(1, 1, 3, 64, 64), tmp_path / "a.onnx", ABOUT) == [tmp_path / "a.onnx"]


@pytest.mark.slow
def test_the_graph_of_a_step_has_the_memories_of_the_temporal_part(tmp_path: Path) -> None:
    detector, frames = network("ems_small_ilif", "temporal=conv_lstm", "temporal.hidden=4"), torch.rand(2, 1, 3, 64, 96)
    for level in detector.temporal.levels:
        nn.init.normal_(level.output.weight)
    written = Onnx().write(detector, frames, tmp_path / "a.onnx", ABOUT)
    agree(*compare(detector, frames, written))
    neurons = sum(isinstance(one, ILIF) for one in detector.modules())
    for path, steps in zip(written, (2, 1), strict=True):
        kinds = Counter(node.op_type for node in onnx.load(path).graph.node)
        assert 0 < kinds["Round"] == kinds["Clip"] <= steps * neurons
        assert not any(kind.startswith("Scatter") for kind in kinds)  # slower than all else
    names = [one.name for one in onnx.load(written[1]).graph.input]
    assert {f"temporal.levels.{level}.{name}" for level in (0, 1) for name in "hc"} <= set(names)
