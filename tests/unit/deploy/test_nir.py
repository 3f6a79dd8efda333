"""Networks in the Neuromorphic Intermediate Representation, read and run by another simulator."""

from __future__ import annotations

from pathlib import Path

import nir
import pytest
import torch
from snntorch.import_nir import import_from_nir
from torch import Tensor, nn

from emsyolo.app import build_detector
from emsyolo.convert.fold import fold_normalisation
from emsyolo.deploy.nir import export_nir
from emsyolo.model.detector import Detector
from emsyolo.neuron.multistep import reset

STEPS, SIZE = 3, (3, 64, 96)


def network(model: str) -> Detector:
    """Its currents lie off the grid of the threshold, so that no potential is so close to it that rounding decides."""
    torch.manual_seed(0)
    detector = build_detector(model, 3, STEPS, ["model.width=0.125"]).eval()
    fold_normalisation(detector)
    for one in detector.modules():
        if isinstance(one, nn.Conv2d):
            one.weight.data.mul_(16).round_().div_(16)
            one.bias.data.uniform_(-0.3, 0.6).mul_(16).round_().div_(16).add_(1 / 512)
    return detector


def simulated(path: Path, frames: Tensor) -> Tensor:
    """What snnTorch gives for the file, step by step; its neurons keep their potentials themselves."""
    other = import_from_nir(nir.read(str(path)))
    with torch.no_grad():
        # The last is a state that it does not use; what several edges bring to the output comes apart.
        return torch.stack([sum(other(frame)[:-1]) for frame in frames])


def test_whole_sew_backbone_gives_the_same_spikes_elsewhere(tmp_path: Path) -> None:
    detector = network("sew_resnet18")
    frames = (torch.rand(STEPS, 1, *SIZE) * 16).round() / 16
    assert export_nir(detector, SIZE, tmp_path / "a.nir", part="backbone", dt=1e-4) == "backbone.stages.3.1"
    with torch.no_grad():
        _, expected = detector.backbone(frames)
    reset(detector)
    found = simulated(tmp_path / "a.nir", frames)
    assert 0.05 < expected.ne(0).float().mean() < 0.95
    assert torch.equal(found, expected)


def test_ems_network_is_exported_up_to_its_first_pooled_shortcut(tmp_path: Path) -> None:
    detector = network("ems_resnet10")
    with pytest.raises(
        ValueError,
        match=r"backbone\.stages\.0\.0\.shortcut\.0 is MaxPool2d, .*; part=largest exports up to backbone\.stem",
    ):
        export_nir(detector, SIZE, tmp_path / "a.nir", part="backbone", dt=1e-4)
    assert not (tmp_path / "a.nir").exists()
    assert export_nir(detector, SIZE, tmp_path / "a.nir", part="largest", dt=1e-4) == "backbone.stem"
    frames = torch.rand(STEPS, 2, *SIZE)
    with torch.no_grad():
        expected = detector.backbone.stem(frames)
    torch.testing.assert_close(simulated(tmp_path / "a.nir", frames), expected)


def test_what_nir_cannot_say_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="part is 'head'; expected backbone or largest"):
        export_nir(network("sew_resnet18"), SIZE, tmp_path / "a.nir", part="head", dt=1e-4)
    with pytest.raises(ValueError, match="dt is 0; expected the seconds of a time step, > 0"):
        export_nir(network("sew_resnet18"), SIZE, tmp_path / "a.nir", part="backbone", dt=0)
    soft = build_detector("sew_resnet18", 3, 2, ["model.width=0.125", "neuron.soft_reset=true"])
    with pytest.raises(ValueError, match=r"backbone\.stem\.\d resets by subtraction"):
        export_nir(soft, SIZE, tmp_path / "a.nir", part="backbone", dt=1e-4)
