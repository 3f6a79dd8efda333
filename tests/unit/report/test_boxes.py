"""Boxes are where they belong, and the image is left alone elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from emsyolo.report.boxes import draw_boxes
from emsyolo.report.sheet import contact_sheet, shortened, truth_sheet
from emsyolo.types import Detections, Targets

NAMES = ("ace", "$k_{ing}$ $")


def found(*boxes_xyxy: list[float]) -> Detections:
    """Scores 0.9, 0.7, ...; labels 0, 1, 0, ..."""
    number = len(boxes_xyxy)
    boxes = torch.tensor(boxes_xyxy, dtype=torch.float32).reshape(-1, 4)
    return Detections(boxes, 0.9 - 0.2 * torch.arange(number), torch.arange(number) % 2)


def truth(*boxes_xyxy: list[float]) -> Targets:
    boxes = torch.tensor(boxes_xyxy, dtype=torch.float32).reshape(-1, 4)
    return Targets(boxes, torch.zeros(len(boxes)).long(), torch.zeros(len(boxes)).bool())


def pixels(path: Path) -> np.ndarray:
    return np.round(imread(path)[..., :3] * 255).astype(int)


def test_small_image_is_enlarged_and_drawn_on() -> None:
    image = torch.randint(0, 256, (3, 96, 128), dtype=torch.uint8)
    drawn = draw_boxes(image, found([20, 40, 60, 80]), NAMES)
    assert drawn.shape == (3, 384, 512)
    assert drawn.dtype == torch.uint8
    enlarged = image.repeat_interleave(4, dim=1).repeat_interleave(4, dim=2)
    changed = (drawn != enlarged).any(dim=0)
    for row, column in ((160, 160), (320, 160), (240, 80), (240, 240)):  # the middle of each edge
        assert changed[row, column]
    assert not changed[170:310, 90:230].any()  # inside
    assert not changed[:, 260:].any()
    assert not changed[330:].any()


def test_large_image_keeps_size_and_pixels() -> None:
    image = torch.randint(0, 256, (3, 601, 733), dtype=torch.uint8)
    drawn = draw_boxes(image, found([300, 200, 400, 300]), NAMES)
    assert drawn.shape == image.shape
    assert torch.equal(drawn[:, 320:], image[:, 320:])
    assert not torch.equal(drawn, image)


def test_nothing_found_changes_nothing() -> None:
    image = torch.randint(0, 256, (3, 520, 390), dtype=torch.uint8)
    assert torch.equal(draw_boxes(image, found(), NAMES), image)
    assert torch.equal(draw_boxes(image, found([1, 1, 9, 9]), NAMES, score_threshold=0.95), image)


def test_label_of_a_box_at_the_corner_stays_inside() -> None:
    image = torch.zeros(3, 96, 128, dtype=torch.uint8)
    at_the_corner = draw_boxes(image, found([120, 0, 128, 8]), NAMES)
    in_the_middle = draw_boxes(image, found([60, 40, 68, 48]), NAMES)
    # The box hides some of its label, or the label some of the box; most of the coloured area must be there.
    assert at_the_corner.any(dim=0).sum() > 0.8 * in_the_middle.any(dim=0).sum()


def test_contact_sheet(tmp_path: Path) -> None:
    image = torch.full((3, 96, 128), 90, dtype=torch.uint8)
    nobody, box = [found()] * 3, [30, 30, 90, 80]
    empty = pixels(contact_sheet(tmp_path / "new" / "empty.png", [image] * 3, nobody, [truth()] * 3, NAMES, columns=2))
    path = contact_sheet(
        tmp_path / "sheet.png",
        [image] * 3,
        [found(box), found(), found()],
        [truth(), truth(box), truth()],
        NAMES,
        columns=2,
    )
    assert path == tmp_path / "sheet.png"
    drawn = pixels(path)
    assert drawn.shape == empty.shape
    height, width = drawn.shape[:2]
    assert width > height > 0.6 * width  # two by two images of 4:3, and a legend
    rows, columns = np.nonzero((drawn != empty).any(axis=2))
    assert rows.max() < height * 0.55  # the first row of images alone
    for left in (0, width // 2):  # a detection in the first, a truth in the second
        inside = columns[(columns >= left) & (columns < left + width // 2)] - left
        assert inside.min() / (width / 2) == pytest.approx(30 / 128, abs=0.03)
        assert inside.max() / (width / 2) == pytest.approx(90 / 128, abs=0.03)
    assert list(tmp_path.glob("**/*.tmp")) == []


def test_contact_sheet_of_unequal_images(tmp_path: Path) -> None:
    images = [torch.zeros(3, 40, 90, dtype=torch.uint8), torch.zeros(3, 120, 50, dtype=torch.uint8)]
    path = contact_sheet(
        tmp_path / "sheet.png", images, [found([1, 1, 30, 30])] * 2, [truth([2, 2, 30, 30])] * 2, NAMES
    )
    assert pixels(path).shape[1] == 2 * 384  # two columns where there are only two images


def test_titles_stand_above_the_columns(tmp_path: Path) -> None:
    image = torch.zeros(3, 40, 60, dtype=torch.uint8)
    drawn = [
        pixels(contact_sheet(tmp_path / "sheet.png", [image] * 4, [found()] * 4, [truth()] * 4, NAMES, 0.3, 2, titles))
        for titles in (["T = 1", "T = 2"], ["T = 1", "ANN"])
    ]
    rows, columns = np.nonzero((drawn[0] != drawn[1]).any(axis=2))
    height, width = drawn[0].shape[:2]
    assert rows.max() < height / 4  # above the first row
    assert columns.min() > width / 2  # of the second column


def test_names_stand_below_the_images(tmp_path: Path) -> None:
    image = torch.zeros(3, 40, 60, dtype=torch.uint8)
    drawn = [
        pixels(contact_sheet(tmp_path / "sheet.png", [image] * 2, [found()] * 2, [truth()] * 2, NAMES, names=names))
        for names in (["a.png", "b.png"], ["a.png", "c.png"])
    ]
    rows, columns = np.nonzero((drawn[0] != drawn[1]).any(axis=2))
    height, width = drawn[0].shape[:2]
    assert rows.min() > 0.85 * height
    assert columns.min() > width / 2
    assert shortened("a.png") == "a.png"
    assert shortened("a" * 30 + "b" * 30) == "a" * 21 + "…" + "b" * 21


def test_sheet_of_truth_has_the_boxes_with_their_names(tmp_path: Path) -> None:
    image = torch.full((3, 96, 128), 90, dtype=torch.uint8)
    hidden = Targets(torch.tensor([[5.0, 5, 20, 20]]), torch.zeros(1).long(), torch.ones(1).bool())
    drawn = pixels(truth_sheet(tmp_path / "a.png", [image, image], [truth([30, 30, 90, 80]), hidden], NAMES))
    height, width = drawn.shape[:2]
    blue = np.nonzero((drawn == (0x44, 0x77, 0xAA)).all(axis=2) & (np.arange(height) > height * 0.2)[:, None])
    assert blue[1].min() / (width / 2) == pytest.approx(30 / 128, abs=0.03)
    assert blue[1].max() / (width / 2) == pytest.approx(90 / 128, abs=0.03)  # and nothing on the second image
    with pytest.raises(ValueError, match="2 images and 1 truths"):
        truth_sheet(tmp_path / "x.png", [image, image], [truth()], NAMES)
    with pytest.raises(ValueError, match="names has 1 entries; expected one for each of 2 images"):
        truth_sheet(tmp_path / "x.png", [image, image], [truth(), truth()], NAMES, names=["a"])


def test_bad_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected \[3, H, W\] of torch.uint8"):
        draw_boxes(torch.zeros(3, 4, 5), found(), NAMES)
    with pytest.raises(ValueError, match="0 images, 0 detections and 0 truths"):
        contact_sheet(tmp_path / "x.png", [], [], [], NAMES)
    with pytest.raises(ValueError, match="columns is 0"):
        contact_sheet(
            tmp_path / "x.png", [torch.zeros(3, 4, 5, dtype=torch.uint8)], [found()], [truth()], NAMES, columns=0
        )
    with pytest.raises(ValueError, match="expected one for each of 1 columns"):
        contact_sheet(
            tmp_path / "x.png", [torch.zeros(3, 4, 5, dtype=torch.uint8)], [found()], [truth()], NAMES, titles="ab"
        )
