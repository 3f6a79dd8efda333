"""Whatever a file holds, a reader gives what it read or one error that names the file; it does not end otherwise."""

from __future__ import annotations

import resource
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import fuzz_data
import numpy as np
import pytest
from fuzz_data import RECORDINGS, Change, changes, damaged
from hypothesis import HealthCheck, given, settings

from emsyolo.dataset.coco import Coco
from emsyolo.dataset.event.boxes import DTYPE, read_boxes
from emsyolo.dataset.event.npy import read_npz
from emsyolo.dataset.event.recording import open_recording
from emsyolo.dataset.fred import read_coordinates
from emsyolo.dataset.ncaltech101 import read_annotation
from emsyolo.dataset.pixels import read_image
from emsyolo.dataset.voc import VOC
from emsyolo.dataset.yolo_txt import YoloTxt
from emsyolo.model.darknet import read_cfg
from emsyolo.model.detector import Detector
from emsyolo.weights.checkpoint import read_weights, save_weights

# More memory than any of these small files may cost; an image may declare as many pixels as Pillow takes, in RGB.
FLOOD_MB, IMAGE_MB = 400, 1800
# The same examples every time: a fault that chance finds belongs to whoever looks for it, not to an unrelated change.
fuzz = settings(
    deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def survives(
    file: Path, content: bytes, read: Callable[[], Any], *, names: Path | None = None, most_mb: int = FLOOD_MB
) -> None:
    """Read a file of this content; an error must be ours, of one line, and name the file (or the set's folder)."""
    file.write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        read()
    except (ValueError, FileNotFoundError) as error:
        said = str(error)
        assert "\n" not in said, said
        assert len(said) < 3000, said
        if names is not None:
            assert names.name in said, said
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < most_mb * 1024, f"{grown / 1024:.0f} MB for {len(content)} bytes"


@pytest.mark.parametrize("name", RECORDINGS)
@fuzz
@given(some=changes)
def test_recordings(tmp_path: Path, name: str, some: list[Change]) -> None:
    path = RECORDINGS[name](tmp_path / name)

    def read() -> None:
        recording = open_recording(path)
        recording.check()
        recording.window(recording.first_us, recording.last_us)

    survives(path, damaged(path.read_bytes(), some), read, names=path)


@fuzz
@given(some=changes)
def test_box_files(tmp_path: Path, some: list[Change]) -> None:
    path = tmp_path / "a_bbox.npy"
    rows = np.zeros(5, dtype=DTYPE)
    rows["w"] = rows["h"] = 3
    np.save(path, rows)
    survives(path, damaged(path.read_bytes(), some), lambda: read_boxes(path), names=path)


@pytest.mark.parametrize(
    ("name", "content", "read"),
    [
        ("coordinates.txt", b"0.033333: 600.0, 290.0, 680.0, 340.0, 1\n" * 5, read_coordinates),
        ("annotation_0001.bin", np.arange(12, dtype="<i2").tobytes(), partial(read_annotation, label=0, t_us=1)),
        ("labels.npz", fuzz_data.npz(), partial(read_npz, names=["labels", "rows"])),
    ],
)
@fuzz
@given(some=changes)
def test_box_files_of_other_sets(
    tmp_path: Path, name: str, content: bytes, read: Callable[[Path], Any], some: list[Change]
) -> None:
    path = tmp_path / name
    survives(path, damaged(content, some), lambda: read(path))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".gif", ".webp"])
@fuzz
@given(some=changes)
def test_images(tmp_path: Path, suffix: str, some: list[Change]) -> None:
    path = fuzz_data.image(tmp_path / f"a{suffix}")
    survives(path, damaged(path.read_bytes(), some), lambda: read_image(path), names=path, most_mb=IMAGE_MB)


@fuzz
@given(some=changes)
def test_coco(some: list[Change]) -> None:
    with TemporaryDirectory() as folder:
        file = fuzz_data.coco(Path(folder))
        survives(file, damaged(file.read_bytes(), some), lambda: Coco(folder, "images", "a.json"), names=file)


@fuzz
@given(some=changes)
def test_voc(some: list[Change]) -> None:
    with TemporaryDirectory() as folder:
        file = fuzz_data.voc(Path(folder))
        content = damaged(file.read_bytes(), some)
        survives(file, content, lambda: VOC(folder, ["2007/train"], ["dog"]))


@pytest.mark.parametrize("file", ["data.yaml", "labels/train/a.txt"])
@fuzz
@given(some=changes)
def test_yolo(file: str, some: list[Change]) -> None:
    with TemporaryDirectory() as folder:
        fuzz_data.yolo(Path(folder))
        content = damaged((Path(folder) / file).read_bytes(), some)
        survives(Path(folder) / file, content, lambda: YoloTxt(folder, "train"))


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
@fuzz
@given(some=changes)
def test_checkpoints(tmp_path: Path, tiny_detector: Detector, suffix: str, some: list[Change]) -> None:
    import torch

    path, whole = tmp_path / f"a{suffix}", tmp_path / f"whole{suffix}"
    if not whole.exists():
        facts = {"config": {}, "class_names": ["a"], "dataset": "digits", "model": "ems_small"}
        if suffix == ".ckpt":
            torch.save({"state_dict": {"detector.w": torch.ones(3)}, "hyper_parameters": facts}, whole)
        else:
            save_weights(whole, torch.nn.Linear(2, 2), facts)
    survives(path, damaged(whole.read_bytes(), some), lambda: read_weights(path), names=path)


@fuzz
@given(some=changes)
def test_network_descriptions(tmp_path: Path, some: list[Change]) -> None:
    path = tmp_path / "a.cfg"
    text = b"[net]\nwidth=416\nheight=416\n[convolutional]\nfilters=16\nsize=3\n[maxpool]\nsize=2\n[yolo]\nmask = 0,1\n"
    survives(path, damaged(text, some), lambda: read_cfg(path), names=path)
