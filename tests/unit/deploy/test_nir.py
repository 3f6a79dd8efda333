"""Networks in the Neuromorphic Intermediate Representation, read and run by another simulator."""

from __future__ import annotations

from pathlib import Path

import nir
import numpy as np
import pytest
import torch
from snntorch.import_nir import import_from_nir
from torch import Tensor, nn

from emsyolo.app import build_detector
from emsyolo.convert.fold import fold_normalisation
from emsyolo.deploy.nir import Nir
from emsyolo.model.detector import Detector
from emsyolo.neuron.leak import Leak
from emsyolo.neuron.lif import LIF
from emsyolo.neuron.state import forget

LIF_THERE = "neuron=lif"
STEPS, SIZE = 3, (3, 64, 96)


def network(model: str, *overrides: str) -> Detector:
    """Its currents lie off the grid of the threshold, so that no potential is so close to it that rounding decides."""
    torch.manual_seed(0)
    detector = build_detector(model, 3, STEPS, ["model.width=0.125", *overrides]).eval()
    fold_normalisation(detector)
    for one in detector.modules():
        if isinstance(one, nn.Conv2d):
            one.weight.data.mul_(16).round_().div_(16)
            one.bias.data.uniform_(-0.3, 0.6).mul_(16).round_().div_(16).add_(1 / 512)
    return detector


def export_nir(detector: Detector, path: Path, *, part: str, dt: float) -> None:
    Nir(part, dt).write(detector, torch.zeros(1, 1, *SIZE), path, {})


def simulated(path: Path, frames: Tensor) -> Tensor:
    """What snnTorch gives for the file, step by step; its neurons keep their potentials themselves."""
    other = import_from_nir(nir.read(str(path)))
    with torch.no_grad():
        # The last is a state that it does not use; what several edges bring to the output comes apart.
        return torch.stack([sum(other(frame)[:-1]) for frame in frames])


def test_whole_sew_backbone_gives_the_same_spikes_elsewhere(tmp_path: Path) -> None:
    detector = network("sew_resnet18")
    frames = (torch.rand(STEPS, 1, *SIZE) * 16).round() / 16
    export_nir(detector, tmp_path / "a.nir", part="backbone", dt=1e-4)
    with torch.no_grad():
        _, expected = detector.backbone(frames)
    forget(detector)
    found = simulated(tmp_path / "a.nir", frames)
    assert 0.05 < expected.ne(0).float().mean() < 0.95
    assert torch.equal(found, expected)


def test_every_channel_leaks_by_its_own_decay(tmp_path: Path) -> None:
    detector = network("sew_resnet18", "neuron=plif")
    leak = next(one for one in detector.backbone.stem.modules() if isinstance(one, Leak))
    leak.logit.data = torch.linspace(0.1, 0.9, len(leak.logit)).logit()
    export_nir(detector, tmp_path / "a.nir", part="backbone", dt=1e-4)
    nodes = nir.read(str(tmp_path / "a.nir")).nodes
    first = next(one for name, one in nodes.items() if "stem" in name and isinstance(one, nir.LIF))
    current = torch.rand(6, 1, *first.tau.shape)
    v, sent = np.zeros(first.tau.shape), []
    for one in current[:, 0].numpy():  # Euler's step of tau dv/dt = R*I - v
        v = v + 1e-4 / first.tau * (first.r * one - v)
        sent.append(v >= first.v_threshold)
        v = np.where(sent[-1], 0, v)
    with torch.no_grad():
        expected = detector.backbone.stem[-1](current)[:, 0].numpy()
    assert 0.05 < expected.mean() < 0.95
    assert (np.stack(sent) == expected).mean() > 0.999
    with pytest.raises(
        AssertionError, match="v_threshold must be same for all neurons"
    ):  # snnTorch knows one per layer
        import_from_nir(nir.read(str(tmp_path / "a.nir")))
    integer = build_detector("sew_resnet18", 3, STEPS, ["model.width=0.125", "neuron=pilif"])
    with pytest.raises(ValueError, match=r"backbone\.stem\.\d is a neuron that sends 16; of neurons NIR has"):
        export_nir(integer, tmp_path / "b.nir", part="backbone", dt=1e-4)


def test_ems_network_is_exported_up_to_its_first_pooled_shortcut(tmp_path: Path) -> None:
    detector = network("ems_resnet10")
    with pytest.raises(
        ValueError,
        match=r"0\.0\.shortcut\.0 is MaxPool2d, .*; format\.part=largest exports up to .*stages\.0\.0\.residual",
    ):
        export_nir(detector, tmp_path / "a.nir", part="backbone", dt=1e-4)
    assert not (tmp_path / "a.nir").exists()
    export_nir(detector, tmp_path / "a.nir", part="largest", dt=1e-4)
    frames = (torch.rand(STEPS, 1, *SIZE) * 16).round() / 16
    fired: list[Tensor] = []
    residual = detector.backbone.stages[0][0].residual
    hooks = [one.register_forward_hook(lambda _, x, y: fired.append(y)) for one in residual if isinstance(one, LIF)]
    with torch.no_grad():
        expected = residual(detector.backbone.stem(frames))
    assert len(hooks) == len(fired) == 2
    assert all(0.05 < one.mean() < 0.95 for one in fired)
    assert torch.equal(simulated(tmp_path / "a.nir", frames), expected)


def test_other_backbones_are_held_layer_by_layer(tmp_path: Path) -> None:
    spiking = build_detector("spiking_yolov3", 3, STEPS, [LIF_THERE, "model.width=0.125"]).eval()
    export_nir(spiking, tmp_path / "a.nir", part="largest", dt=1e-4)
    neurons = [one for one in nir.read(str(tmp_path / "a.nir")).nodes.values() if isinstance(one, nir.LIF)]
    assert len(neurons) == 12
    five = "model.anchors=[[[10,14],[23,27],[37,58],[81,82],[135,169]]]"
    there = [LIF_THERE, "model.width=0.125", five]
    pooled = build_detector("spiking_yolo", 3, STEPS, there).eval()
    with pytest.raises(ValueError, match=r"^backbone\.layers\.0\.3 is MaxPool2d, which NIR has no node for"):
        export_nir(pooled, tmp_path / "b.nir", part="largest", dt=1e-4)
    ann = build_detector("spiking_yolov3", 3, 1, ["model.width=0.125"]).eval()
    with pytest.raises(ValueError, match=r"^backbone\.fine\.0\.2 is ReLU; of neurons NIR has the leaky one"):
        export_nir(ann, tmp_path / "c.nir", part="largest", dt=1e-4)


def test_a_neuron_without_leak_adds_its_current_in_every_step(tmp_path: Path) -> None:
    detector = build_detector("sew_resnet18", 3, STEPS, ["model.width=0.125", "neuron.decay=1"]).eval()
    export_nir(detector, tmp_path / "a.nir", part="backbone", dt=1e-3)
    whole = nir.read(str(tmp_path / "a.nir"))
    neurons = [one for one in whole.nodes.values() if isinstance(one, nir.IF)]
    assert len(neurons) == 1 + 8 * 2 + 4  # stem, two in each block, one in each shortcut that changes the size
    for one in neurons:  # dv = R * I * dt
        assert one.r.min() == one.r.max() == pytest.approx(1 / 1e-3)
        assert one.v_threshold.min() == one.v_threshold.max() == 0.5
    with pytest.raises(AssertionError, match="r != 1 not supported"):
        import_from_nir(whole)


def test_what_nir_cannot_say_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"format\.part is 'head'; expected backbone or largest"):
        export_nir(network("sew_resnet18"), tmp_path / "a.nir", part="head", dt=1e-4)
    with pytest.raises(ValueError, match=r"format\.dt is 0; expected the seconds of a time step, > 0"):
        export_nir(network("sew_resnet18"), tmp_path / "a.nir", part="backbone", dt=0)
    soft = build_detector("sew_resnet18", 3, 2, ["model.width=0.125", "neuron.soft_reset=true"])
    with pytest.raises(ValueError, match=r"backbone\.stem\.\d resets by subtraction"):
        export_nir(soft, tmp_path / "a.nir", part="backbone", dt=1e-4)
