"""Darknet's files: a small network written by hand."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from emsyolo.app import call
from emsyolo.app.build import detector_of
from emsyolo.app.config import saved_config
from emsyolo.app.darknet import darknet_checkpoint
from emsyolo.convert.converter import Conversion, convert
from emsyolo.geometry.anchors import decode_darknet
from emsyolo.model.darknet import darknet, max_pool, read_cfg
from emsyolo.model.detector import Detector
from emsyolo.neuron.lif import LIF
from emsyolo.neuron.quantised import Quantised
from emsyolo.types import HeadMaps
from emsyolo.weights.checkpoint import load_weights
from emsyolo.weights.darknet import load_darknet

CONVOLUTION = "[convolutional]\nbatch_normalize=1\nfilters={}\nsize=3\nstride=1\npad=1\nactivation=leaky\n"
POOL = "[maxpool]\nsize=2\nstride={}\n"
MAP = "[convolutional]\nsize=1\nstride=1\npad=1\nfilters=21\nactivation=linear\n[yolo]\nmask=0,1,2\n"
# Layers 0 to 7 halve the size four times, 8 is at stride 16, 9 and 10 at stride 32.
CFG = (
    "[net]\nwidth=64\n"
    + "".join(CONVOLUTION.format(4) + POOL.format(2) for _ in range(4))
    + CONVOLUTION.format(8)
    + POOL.format(2)
    + POOL.format(1)
    + CONVOLUTION.format(8)
    + MAP
    + "[route]\nlayers=-3\n[upsample]\nstride=2\n[route]\nlayers=-1,8\n"
    + CONVOLUTION.format(8)
    + MAP
)
ANCHORS = [[[10, 14], [23, 27], [37, 58]], [[81, 82], [135, 169], [344, 319]]]
CONVOLUTIONS = [(3, 4), (4, 4), (4, 4), (4, 4), (4, 8), (8, 8)]  # then a map, then (16, 8), then a map


def numbers() -> int:
    normalised = [*CONVOLUTIONS, (16, 8)]
    return sum(9 * a * b + 4 * b for a, b in normalised) + 2 * (8 * 21 + 21)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    values = np.abs(rng.normal(0.1, 0.2, numbers())).astype("<f4")
    (tmp_path / "net.cfg").write_text(CFG)
    (tmp_path / "net.names").write_text("aeroplane\nperson\n")
    (tmp_path / "net.weights").write_bytes(struct.pack("<iiiq", 0, 2, 0, 5) + values.tobytes())
    return tmp_path


PUBLISHED = Path(__file__).resolve().parents[4] / "shared" / "data" / "yolov3_tiny" / "yolov3-tiny.weights"


@pytest.mark.skipif(not PUBLISHED.is_file(), reason=f"needs darknet's published weights, {PUBLISHED}")
def test_published_weights_are_read() -> None:
    weights = darknet_checkpoint(PUBLISHED)
    assert weights.config["class_names"][:3] == ["person", "bicycle", "car"]
    assert len(weights.config["class_names"]) == 80
    detector = detector_of(saved_config(weights)).eval()
    load_weights(detector, weights)
    assert sum(p.numel() for p in detector.parameters()) == 8_852_366  # Ultralytics' yolov3-tiny has as many
    with torch.no_grad():
        maps = detector(torch.rand(1, 1, 3, 96, 128)).maps
    assert [tuple(one.shape) for one in maps] == [(1, 3, 6, 8, 85), (1, 3, 3, 4, 85)]
    for one in maps:
        assert torch.isfinite(one).all()
        assert one[..., 4].sigmoid().max() < 0.5  # nothing is seen in noise


def test_weights_go_where_the_file_has_them(folder: Path) -> None:
    weights = darknet_checkpoint(folder / "net.weights")
    assert weights.config["class_names"] == ["airplane", "person"]
    values = np.frombuffer((folder / "net.weights").read_bytes()[20:], dtype="<f4")
    state = weights.state
    first = "backbone.layers.0"
    for i, key in enumerate(("1.bias", "1.weight", "1.running_mean", "1.running_var")):
        np.testing.assert_array_equal(state[f"{first}.{key}"].numpy(), values[4 * i : 4 * i + 4])
    np.testing.assert_array_equal(state[f"{first}.0.weight"].flatten().numpy(), values[16 : 16 + 108])
    # The coarse map comes first in the file; the fine map is its last part.
    np.testing.assert_array_equal(state["head.maps.0.weight"].flatten().numpy(), values[-168:])


def simulate(
    spiking: Detector, x: torch.Tensor, times: list[int], *, chunk: int = 16
) -> Iterator[tuple[int, HeadMaps]]:
    """The maps after some steps, from one pass."""
    spiking.T, spiking.chunk = times[-1], chunk
    with torch.no_grad():
        yield from zip(times, spiking.read(x, [range(t) for t in times]), strict=True)


@pytest.mark.parametrize("activation", ["relu", "leaky"])
def test_network_has_the_sizes_of_its_description_and_can_be_converted(folder: Path, activation: str) -> None:
    (folder / "net.cfg").write_text(CFG.replace("leaky", activation))
    detector = darknet(T=1, num_classes=2, anchors=ANCHORS, cfg=str(folder / "net.cfg")).eval()
    x = torch.rand(1, 1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        maps = detector(x).maps
    assert [tuple(one.shape) for one in maps] == [(1, 3, 4, 6, 7), (1, 3, 2, 3, 7)]
    spiking = convert(detector, lambda: [x], Conversion(normalise="max"))
    error = {
        t: max(float((a - b).abs().mean()) for a, b in zip(found.maps, maps, strict=True))
        for t, found in simulate(spiking, x, [16, 64, 256, 1024])
    }
    # The law is 1/T, 4 and 64. Imbalanced neurons that send spikes of both signs keep an error: a negative one gives
    # back ten times what a positive one takes.
    if activation == "relu":
        assert error[1024] < error[16] / 40
        assert all(2.8 < error[t] / error[4 * t] < 5.2 for t in (16, 64, 256))
    else:
        assert error[1024] < error[16] / 10


@pytest.mark.parametrize("activation", ["relu", "leaky"])
def test_any_neuron_stands_in_the_place_of_activations(folder: Path, activation: str) -> None:
    description = CFG.replace("leaky", activation)
    made = [
        darknet(T=2, num_classes=2, anchors=ANCHORS, cfg=description, neuron=neuron)
        for neuron in (partial(Quantised, 15), LIF)
    ]
    quantised = [module for module in made[0].modules() if isinstance(module, Quantised)]
    assert len(quantised) == 7
    assert {module.slope for module in quantised} == {0.1 if activation == "leaky" else 0.0}
    spiking = [module for module in made[1].modules() if isinstance(module, LIF)]
    assert len(spiking) == 7
    norms = [module for module in made[1].modules() if isinstance(module, nn.BatchNorm2d)]
    assert all((norm.weight == spiking[0].v_threshold).all() for norm in norms)


def test_a_pretrained_network_is_trained_with_quantised_activations(folder: Path) -> None:
    content = (folder / "net.weights").read_bytes()
    small_maps = np.frombuffer(content[20:], dtype="<f4") / 10  # boxes of a size that exp can say
    (folder / "net.weights").write_bytes(content[:20] + small_maps.tobytes())
    small = [
        f"data_dir={folder}", f"runs_dir={folder}/runs", "dataset.limit=4", "dataset.batch_size=2",
        "dataset.num_workers=0", "dataset.size_hw=[64,96]",
    ]  # fmt: skip
    checkpoint = call(
        "train", *small, "model=yolov3_tiny", "neuron=quantised", "neuron.levels=15", f"weights={folder}/net.weights",
        "trainer.max_epochs=1", "optimizer.warmup_epochs=0",
    )["checkpoint"]  # fmt: skip
    for path in folder.glob("net.*"):
        path.unlink()  # a checkpoint needs nothing but itself
    steps = call(
        "evaluate", f"data_dir={folder}", f"runs_dir={folder}/runs", f"checkpoint={checkpoint}", "convert=radix", "T=4"
    )
    ann = call("evaluate", "speed_s=0", f"data_dir={folder}", f"runs_dir={folder}/runs", f"checkpoint={checkpoint}")
    assert steps["T"] == 4
    assert steps["mAP"] == pytest.approx(ann["mAP"], abs=0.01)


def test_pooling_with_stride_one_keeps_the_size_and_pads_to_the_right() -> None:
    pool = max_pool(2, 1)
    x = torch.tensor([[1.0, -2.0], [-3.0, -4.0]]).view(1, 1, 1, 2, 2)
    assert pool(x).flatten().tolist() == [1.0, -2.0, -3.0, -4.0]


def test_boxes_in_darknets_form_by_hand() -> None:
    raw = torch.zeros(1, 1, 2, 3, 7)
    raw[0, 0, 1, 2, 2] = 1.0
    boxes = decode_darknet(raw, 16, torch.tensor([[10.0, 20.0]]))
    assert boxes[0, 0, 1, 2].tolist() == pytest.approx([40.0, 24.0, 10 * np.e, 20.0], rel=1e-6)


@pytest.mark.parametrize("change", [-4, -1, 4])
def test_weights_of_another_length_are_refused(folder: Path, change: int) -> None:
    path = folder / "net.weights"
    content = path.read_bytes()
    path.write_bytes(content[:change] if change < 0 else content + bytes(change))
    with pytest.raises(ValueError, match=rf"net\.weights: {len(content) + change} bytes; expected {len(content)} for"):
        darknet_checkpoint(path)


def test_header_of_the_first_versions_is_shorter(folder: Path) -> None:
    new = darknet_checkpoint(folder / "net.weights").state
    content = (folder / "net.weights").read_bytes()
    (folder / "net.weights").write_bytes(struct.pack("<iiii", 0, 1, 0, 5) + content[20:])
    old = darknet_checkpoint(folder / "net.weights").state
    assert all(torch.equal(old[name], new[name]) for name in new)


def test_size_and_anchors_are_those_of_the_description(folder: Path) -> None:
    own = CFG.replace("[net]\nwidth=64\n", "[net]\nwidth=96\nheight=64\n")
    masks = iter(("3,4,5", "0,1,2"))
    parts = own.split("mask=0,1,2\n")
    own = "".join(
        one + (f"mask={next(masks)}\nanchors = 1,2, 3,4, 5,6, 7,8, 9,10, 11,12\nclasses=2\n" if i < 2 else "")
        for i, one in enumerate(parts)
    )
    (folder / "net.cfg").write_text(own)
    config = darknet_checkpoint(folder / "net.weights").config["config"]
    assert config["dataset"]["size_hw"] == [64, 96]
    assert config["model"]["anchors"] == [[[1, 2], [3, 4], [5, 6]], [[7, 8], [9, 10], [11, 12]]]
    (folder / "net.cfg").write_text(own.replace("classes=2", "classes=3"))
    with pytest.raises(ValueError, match=r"net\.cfg, \[yolo\]: classes=3, but the \.names file has 2"):
        darknet_checkpoint(folder / "net.weights")
    (folder / "net.cfg").write_text(own.replace("mask=3,4,5", "mask=3,4,9"))
    with pytest.raises(ValueError, match=r"net\.cfg, \[yolo\]: mask=3,4,9"):
        darknet_checkpoint(folder / "net.weights")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("filters=8", "filters=many", r"layer 8 \[convolutional\]: filters=many; expected a whole number"),
        ("filters=8", "", r"layer 8 \[convolutional\]: filters=; expected"),
        ("layers=-3", "layers=-30", r"layer 14 \[route\]: layers=-30; expected numbers of earlier layers"),
        ("filters=8", "filters=999999", r"bytes; expected at least \d{9,} for the layers"),
        ("width=64", "width=70", r"width=70; expected multiples of 32"),
        ("[net]", "[met]", r"expected \[net\] as the first section"),
    ],
)
def test_descriptions_that_cannot_be_built(folder: Path, old: str, new: str, message: str) -> None:
    (folder / "net.cfg").write_text(CFG.replace(old, new))
    with pytest.raises(ValueError, match=message):
        darknet_checkpoint(folder / "net.weights")


def test_bad_descriptions(folder: Path) -> None:
    (folder / "bad.cfg").write_text("[net]\n[convolutional]\nfilters 3\n")
    with pytest.raises(ValueError, match=r"bad\.cfg, line 3: 'filters 3'"):
        read_cfg(folder / "bad.cfg")
    for kind in ("reorg", "shortcut"):
        (folder / "bad.cfg").write_text(CFG.replace("[upsample]", f"[{kind}]"))
        with pytest.raises(
            ValueError, match=rf"\[{kind}\] is layer 15; expected convolutional, maxpool, upsample, route"
        ):
            darknet(T=1, num_classes=2, anchors=ANCHORS, cfg=str(folder / "bad.cfg"))
    (folder / "bad.cfg").write_text(CFG.replace("activation=leaky", "activation=mish", 1))
    with pytest.raises(ValueError, match="layer 0 has activation=mish"):
        darknet(T=1, num_classes=2, anchors=ANCHORS, cfg=str(folder / "bad.cfg"))
    with pytest.raises(FileNotFoundError, match=r"none\.weights"):
        load_darknet([], folder / "none.weights")
