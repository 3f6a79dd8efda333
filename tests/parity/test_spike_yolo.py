"""Published SpikeYOLO: recorded neurons, maps, boxes, losses, gradients, counts and keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spike_yolo_fill import COCO_BN, GEN1_BN, tensor_for

from emsyolo.app import build_detector
from emsyolo.geometry.points import PointLayout
from emsyolo.loss.point import PointLoss
from emsyolo.model.detector import Detector
from emsyolo.neuron.ilif import ILIF
from emsyolo.neuron.memory import set_memory
from emsyolo.types import HeadMaps, Targets
from emsyolo.weights.official import load_official
from emsyolo.weights.official_spike_yolo import our_name

HERE = Path(__file__).parent / "spike_yolo"
MORE = Path(__file__).parents[3] / "shared" / "fixtures" / "spikeyolo"  # all recorded cases, where they are
SCALES = {
    "n": "spike_yolo_n",
    "s": "spike_yolo_s",
    "m": "spike_yolo_m",
    "l": "spike_yolo_l",
    "gen1_s": "spike_yolo_gen1_s",
}


def published(scale: str, folder: Path) -> dict[str, torch.Tensor]:
    """A state dict with the published keys and shapes, filled from the names."""
    keys = json.loads((folder / f"{scale if scale == 'gen1_s' else f'coco_{scale}'}_keys.json").read_text())
    bn = GEN1_BN if scale == "gen1_s" else COCO_BN
    return {name: torch.as_tensor(tensor_for(name, tuple(shape), bn)) for name, shape in keys.items()}


def network(scale: str, steps: int, levels: int, folder: Path = HERE) -> Detector:
    classes = 2 if scale == "gen1_s" else 80
    detector = build_detector(SCALES[scale], classes, steps, [f"neuron.levels={levels}"]).double()
    load_official(detector, published(scale, folder))
    return detector


def frames(scale: str, steps: int) -> torch.Tensor:
    rng = np.random.default_rng(7)
    if scale == "gen1_s":
        return torch.as_tensor(rng.random((2, steps, 3, 64, 64))).transpose(0, 1)
    return torch.as_tensor(rng.random((2, 3, 64, 64)))[None]


CASES = [("n", 2, 4, HERE), ("gen1_s", 2, 4, HERE), *(
    (scale, steps, levels, MORE)
    for scale, steps, levels in (("n", 1, 1), ("n", 1, 4), ("n", 1, 8), ("s", 1, 4), ("gen1_s", 1, 4))
)]  # fmt: skip


@pytest.mark.parametrize(("scale", "steps", "levels", "folder"), CASES)
def test_maps_and_boxes_are_the_recorded_ones(scale: str, steps: int, levels: int, folder: Path) -> None:
    if not folder.is_dir():
        pytest.skip(f"needs the recorded cases of {folder.name}")
    recorded = np.load(folder / f"{scale}_T{steps}D{levels}_rng7_64.npz")
    detector = network(scale, steps, levels, folder).eval()
    with torch.no_grad():
        maps = detector(frames(scale, steps))
    for level, raw in enumerate(maps.maps):
        np.testing.assert_allclose(raw.numpy(), recorded[f"raw{level}"], rtol=0, atol=1e-9)
    found, decoded = maps.candidates(), recorded["decoded"].transpose(0, 2, 1)
    centre, size = decoded[..., :2], decoded[..., 2:4]
    corners = np.concatenate([centre - size / 2, centre + size / 2], axis=-1)
    np.testing.assert_allclose(found.boxes_xyxy.numpy(), corners, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.scores.numpy(), decoded[..., 4:], rtol=0, atol=1e-9)


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_neurons_are_the_recorded_ones(backend: Any) -> None:
    cases = [("", 4, 0.5, 0.5, np.load(HERE / "neuron_gen1_T4.npz"))]
    coco = np.load(HERE / "neuron_ilif_T4.npz")
    cases += [(f"D{levels}_", levels, 0.25, 1.0, coco) for levels in (1, 2, 4, 8)]
    for prefix, levels, decay, scale, recorded in cases:
        x = torch.tensor(recorded[f"{prefix}x"], requires_grad=True)
        spikes = ILIF(levels, decay, scale, backend=backend)(x)
        assert torch.equal(spikes, torch.tensor(recorded[f"{prefix}y"]))
        (gradient,) = torch.autograd.grad(spikes, x, torch.tensor(recorded[f"{prefix}w"]))
        np.testing.assert_allclose(gradient.numpy(), recorded[f"{prefix}grad"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("memory", ["plain", "packed", "recompute"])
def test_a_training_step_is_the_recorded_one(memory: Any) -> None:
    recorded = json.loads((HERE / "train_n_T2D4_rng7_64.json").read_text())
    maps_recorded = np.load(HERE / "train_n_T2D4_rng7_64.npz")
    detector = network("n", 2, 4).train()
    set_memory(detector, memory)
    maps = detector(frames("n", 2)).maps
    loss = torch.zeros((), dtype=torch.float64)
    for i, raw in enumerate(maps):
        np.testing.assert_allclose(raw.detach().numpy(), maps_recorded[f"raw{i}"], rtol=0, atol=1e-9)
        loss = loss + (raw * torch.as_tensor(np.random.default_rng(21 + i).normal(size=tuple(raw.shape)))).mean()
    assert loss.item() == pytest.approx(recorded["loss"], abs=1e-12)
    loss.backward()
    parameters, buffers = dict(detector.named_parameters()), dict(detector.named_buffers())
    # What lies before a normalisation that undoes it has a gradient of rounding only.
    largest = max(entry["abssum"] for entry in recorded["grad"].values())
    checked = 0
    for name, entry in recorded["grad"].items():
        gradient = parameters[our_name(name)].grad
        if entry["abssum"] > 1e-9 * largest:
            assert gradient.abs().sum().item() == pytest.approx(entry["abssum"], rel=1e-6), name
            checked += 1
    assert checked > 100
    for name, entry in recorded["running_after"].items():
        # The first convolution sees a still image once, so that n/(n-1) of its variance is that of N samples.
        tolerance = 1e-4 if name.startswith("model.1.") else 1e-9
        assert buffers[our_name(name)].sum().item() == pytest.approx(entry["sum"], rel=tolerance, abs=1e-9), name


def test_loss_and_its_gradients_are_the_recorded_ones() -> None:
    recorded = np.load(HERE / "loss_tal.npz")
    raws = [
        torch.as_tensor(np.random.default_rng(13 + i).normal(0, 1.5, (2, 144, side, side))).requires_grad_()
        for i, side in enumerate((8, 4, 2))
    ]
    targets = []
    for image in range(2):
        rows = torch.as_tensor(recorded["targets"][recorded["targets"][:, 0] == image])
        boxes = 64 * torch.cat([rows[:, 2:4] - rows[:, 4:] / 2, rows[:, 2:4] + rows[:, 4:] / 2], dim=1)
        targets.append(Targets(boxes, rows[:, 1].long(), torch.zeros(len(rows), dtype=torch.bool)))
    parts = PointLoss()(HeadMaps(tuple(raws), PointLayout((8, 16, 32), 80)), targets)
    np.testing.assert_allclose(
        [parts[name].item() for name in ("box", "class", "dfl")], recorded["box_cls_dfl"], rtol=1e-9
    )
    assert parts["loss"].item() == pytest.approx(float(recorded["total"]), rel=1e-12)
    parts["loss"].backward()
    for i, raw in enumerate(raws):
        np.testing.assert_allclose(raw.grad.numpy(), recorded[f"grad{i}"], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("scale", "classes", "count"),
    [
        ("n", 80, 13_271_632), ("s", 80, 23_153_024), ("m", 80, 47_841_856), ("l", 80, 68_478_400),
        ("gen1_s", 2, 23_122_838), ("n", 20, 13_254_172), ("m", 20, 47_812_876),
    ],
)  # fmt: skip
def test_parameter_counts(scale: str, classes: int, count: int) -> None:
    with torch.device("meta"):
        detector = build_detector(SCALES[scale], classes, 1)
    assert sum(p.numel() for p in detector.parameters()) == count


def test_what_does_not_fit_is_named_and_changes_nothing() -> None:
    state = published("n", HERE)
    wrong = build_detector("spike_yolo_n", 80, 1, ["model.last_ratio=2"])
    before = {name: tensor.clone() for name, tensor in wrong.state_dict().items()}
    with pytest.raises(ValueError, match=r"model\.25\.conv1\.body.*; and \d+ more\. .*model\.last_ratio=2"):
        load_official(wrong, state)
    with pytest.raises(ValueError, match="do not fit this detector"):
        load_official(build_detector("spike_yolo_s", 80, 1), state)
    with pytest.raises(ValueError, match=r"'model\.99\.conv\.weight' is not a name of a published"):
        load_official(wrong, {**state, "model.99.conv.weight": torch.zeros(1)})
    del state["model.20.conv.weight"]
    with pytest.raises(ValueError, match=r"neck\.neck\.down4\.1\.weight of the detector is not in the state dict"):
        load_official(build_detector("spike_yolo_n", 80, 1), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in wrong.state_dict().items())
