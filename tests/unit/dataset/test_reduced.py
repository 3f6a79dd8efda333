from __future__ import annotations

import logging
import os
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image

from emsyolo.dataset.augment import Letterbox, Stretch
from emsyolo.dataset.datamodule import DataModule
from emsyolo.dataset.images import ImageDataset, plain_record
from emsyolo.dataset.reduced import Reduced, factor, reducible

SIZE_HW = (32, 64)  # of the network's input
LARGE_HW = (203, 310)  # which a letterbox makes 32x49
BOX = [62.0, 29.0, 155.0, 116.0]


@pytest.fixture
def photographs(tmp_path: Path) -> ImageDataset:
    """A large image, and one of twice the input."""
    rng = np.random.default_rng(0)
    records = []
    for number, (height, width) in enumerate((LARGE_HW, (64, 128))):
        coarse = Image.fromarray(rng.integers(256, size=(5, 8, 3), dtype=np.uint8))
        path = tmp_path / f"{number}.png"
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(path)
        records.append(plain_record(number, path, (height, width), [BOX], [1]))
    return ImageDataset(records, ("a", "b"), "photographs")


@pytest.mark.parametrize(
    ("size_hw", "by"),
    [
        ((32, 64), 1),
        ((127, 255), 1),
        ((128, 256), 2),
        ((128, 64), 2),
        ((191, 300), 2),
        ((192, 64), 2),  # 11 px wide, whole pixels
        ((192, 128), 3),
        ((3200, 64), 32),  # 1 px wide
    ],
)
def test_an_image_is_reduced_to_no_less_than_twice_the_input(size_hw: tuple[int, int], by: int) -> None:
    record = plain_record(0, Path("x.jpg"), size_hw, [], [])
    assert factor(record, Letterbox(SIZE_HW)) == by
    made_of = [side * scale for side, scale in zip(size_hw[::-1], Letterbox(SIZE_HW).scale_wh(size_hw), strict=True)]
    assert all(2 * side <= there // by + 1 for side, there in zip(made_of, size_hw[::-1], strict=True)) or by == 1


def test_of_a_stretched_image_the_side_that_shrinks_less_decides() -> None:
    record = plain_record(0, Path("x.jpg"), (320, 300), [], [])
    assert factor(record, Stretch(SIZE_HW)) == 2  # 320 is ten times 32, but 300 is no five times 64


def test_what_the_network_sees_hardly_changes(photographs: ImageDataset, tmp_path: Path) -> None:
    fit = Letterbox(SIZE_HW)
    reduced = Reduced(photographs, fit, tmp_path / "cache")
    sample = reduced[0]
    assert sample.frames.shape == (1, 3, 67, 103)  # by 3
    assert sample.original_hw == LARGE_HW
    direct, twice = fit(photographs[0]), fit(sample)
    assert (direct.frames.int() - twice.frames.int()).abs().float().mean() < 1
    # Each step makes the sides whole.
    assert torch.allclose(direct.targets.boxes_xyxy, twice.targets.boxes_xyxy, atol=0.5)
    way_back = (twice.targets.boxes_xyxy - torch.tensor(twice.offset_xy * 2)) / torch.tensor(twice.scale_wh * 2)
    assert torch.allclose(way_back, torch.tensor([BOX]), atol=1e-3)
    assert torch.equal(twice.targets.labels, torch.tensor([1]))


def test_an_image_is_decoded_once(photographs: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit, cache = Letterbox(SIZE_HW), tmp_path / "cache"
    first = Reduced(photographs, fit, cache)[0]
    assert [path.suffix for path in cache.iterdir()] == [".npy"]
    monkeypatch.setattr(ImageDataset, "_image", None)  # of which nobody asks any more
    again = Reduced(photographs, fit, cache)[0]
    assert torch.equal(again.frames, first.frames)
    assert torch.equal(again.targets.boxes_xyxy, first.targets.boxes_xyxy)


def test_an_image_that_is_not_large_is_given_as_it_is(photographs: ImageDataset, tmp_path: Path) -> None:
    sample = Reduced(photographs, Letterbox(SIZE_HW), tmp_path / "cache")[1]
    assert torch.equal(sample.frames, photographs[1].frames)
    assert not (tmp_path / "cache").exists()


def test_an_image_that_changed_is_reduced_anew(photographs: ImageDataset, tmp_path: Path) -> None:
    reduced = Reduced(photographs, Letterbox(SIZE_HW), tmp_path / "cache")
    before = reduced[0].frames
    path = photographs.records[0].path
    assert path is not None
    Image.new("RGB", LARGE_HW[::-1], "red").save(path)
    os.utime(path, ns=(1, 1))
    assert not torch.equal(reduced[0].frames, before)
    assert (reduced[0].frames[0, 0] == 255).all()


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", "cut"])
def test_a_damaged_file_is_made_anew(photographs: ImageDataset, tmp_path: Path, content: bytes | str) -> None:
    reduced = Reduced(photographs, Letterbox(SIZE_HW), tmp_path / "cache")
    before = reduced[0].frames
    (file,) = (tmp_path / "cache").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-9] if isinstance(content, str) else content)
    assert torch.equal(reduced[0].frames, before)
    assert file.read_bytes() == whole


def test_a_folder_that_cannot_be_written_costs_time_alone(
    photographs: ImageDataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    reduced = Reduced(photographs, Letterbox(SIZE_HW), tmp_path / "file" / "cache")
    with caplog.at_level(logging.WARNING):
        assert torch.equal(reduced[0].frames, reduced[0].frames)
    assert len(caplog.records) == 1
    assert "dataset.cache=" in caplog.text


def test_an_image_that_is_gone_is_named(photographs: ImageDataset, tmp_path: Path) -> None:
    reduced = Reduced(photographs, Letterbox(SIZE_HW), tmp_path / "cache")
    (tmp_path / "0.png").unlink()
    with pytest.raises(ValueError, match=r"0\.png: no such image file"):
        reduced[0]


def test_what_it_takes_is_known_before(photographs: ImageDataset, tmp_path: Path) -> None:
    fit, cache = Letterbox(SIZE_HW), tmp_path / "cache"
    assert reducible(photographs, fit) == (1, 3 * 67 * 103)
    Reduced(photographs, fit, cache)[0]
    assert sum(path.stat().st_size for path in cache.iterdir()) == 3 * 67 * 103 + 128  # NumPy's header


def test_training_batches_come_from_the_folder_and_no_others(photographs: ImageDataset, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    settings = {"name": "x", "size_hw": SIZE_HW, "augment": {}, "batch_size": 2, "eval_batch_size": 2, "num_workers": 0}
    data = DataModule(train=lambda: photographs, val=lambda: photographs, cache=str(cache), **settings)  # type: ignore[arg-type]
    for loader in (data.val_loader(), data.calibration_loader()):
        next(iter(loader))
    assert not cache.exists()
    next(iter(data.train_loader()))
    assert len(list(cache.iterdir())) == 1


def test_a_window_of_events_is_no_photograph() -> None:
    record = plain_record(0, Path("x.dat"), (3200, 6400), [], [], t_us=5)
    assert factor(record, Letterbox(SIZE_HW)) == 1


def test_no_folder_for_streams(tmp_path: Path) -> None:
    settings = {"name": "x", "size_hw": SIZE_HW, "augment": {}, "batch_size": 2, "eval_batch_size": 2, "num_workers": 0}
    with pytest.raises(ValueError, match=r"dataset\.cache="):
        DataModule(train=Mock(), val=Mock(), cache=str(tmp_path), sequence=4, **settings)  # type: ignore[arg-type]
