from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from emsyolo.dataset.augment import Letterbox
from emsyolo.dataset.images import ImageDataset, plain_record, read_image


def test_a_sample_has_the_stored_pixels_in_rgb_and_its_boxes(tmp_path: Path) -> None:
    pixels = np.zeros((30, 40, 3), dtype=np.uint8)
    pixels[5, 7] = [10, 20, 30]
    Image.fromarray(pixels).save(tmp_path / "a.png")
    record = plain_record(3, tmp_path / "a.png", (30, 40), [[1, 2, 5, 9], [0, 0, 40, 30]], [1, 0], crowd=[False, True])
    sample = ImageDataset([record], ["x", "y"], "tiny")[0]
    assert sample.frames.shape == (1, 3, 30, 40)
    assert sample.frames.dtype == torch.uint8
    assert sample.frames[0, :, 5, 7].tolist() == [10, 20, 30]
    assert sample.targets.boxes_xyxy.tolist() == [[1, 2, 5, 9], [0, 0, 40, 30]]
    assert sample.targets.labels.tolist() == [1, 0]
    assert sample.targets.ignore.tolist() == [False, True]
    assert (sample.id, sample.name, sample.original_hw) == (3, "a.png", (30, 40))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16"])
def test_every_kind_of_png_becomes_rgb_bytes(tmp_path: Path, mode: str) -> None:
    pixels = np.full((6, 8), 51 * 257, dtype=np.uint16) if mode == "I;16" else np.full((6, 8), 51, dtype=np.uint8)
    image = Image.fromarray(pixels)
    (image if mode == "I;16" else image.convert(mode)).save(tmp_path / "a.png")
    found = read_image(tmp_path / "a.png")
    assert found.shape == (3, 6, 8)
    assert found.unique().tolist() == [51]


def test_exif_orientation_is_not_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (3, 30, 40)


def test_an_image_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"bad\.jpg: the image cannot be decoded"):
        read_image(tmp_path / "bad.jpg")


def test_truth_is_cocos_form_in_original_pixels() -> None:
    records = [
        plain_record(9, None, (30, 40), [[1, 2, 5, 9]], [1], name="a", area=[20.0], crowd=[True]),
        plain_record(4, None, (50, 20), [[0, 0, 10, 5], [2, 3, 4, 6]], [0, 1], name="b", difficult=[False, True]),
    ]
    truth = ImageDataset(records, ["x", "y"], "tiny").truth()
    assert truth["images"] == [
        {"id": 9, "file_name": "a", "height": 30, "width": 40},
        {"id": 4, "file_name": "b", "height": 50, "width": 20},
    ]
    assert truth["categories"] == [{"id": 0, "name": "x"}, {"id": 1, "name": "y"}]
    keys = ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "difficult")
    assert [tuple(one[key] for key in keys) for one in truth["annotations"]] == [
        (1, 9, 1, [1, 2, 4, 7], 20.0, 1, 0),
        (2, 4, 0, [0, 0, 10, 5], 50.0, 0, 0),
        (3, 4, 1, [2, 3, 2, 3], 6.0, 0, 1),
    ]


def test_box_sizes_are_of_the_letterboxed_image_without_ignored_boxes() -> None:
    # 30x40 into 96x64 (HxW): the width limits, 64/40 = 1.6.
    record = plain_record(0, None, (30, 40), [[0, 0, 10, 20], [0, 0, 30, 30]], [0, 0], difficult=[False, True])
    sizes = ImageDataset([record], ["x"], "tiny").box_sizes(Letterbox((96, 64)).scale_wh)
    np.testing.assert_allclose(sizes, [[16.0, 32.0]])
