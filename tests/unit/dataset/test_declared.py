from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from emsyolo.dataset.check import Ledger
from emsyolo.dataset.declared import Declared, drawn_upright, stored_boxes, unturned
from emsyolo.dataset.verify import Header

PATH = Path("a.jpg")


def boxes(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_of_the_upright_image_find_their_pixels(orientation: int) -> None:
    pixels = np.zeros((30, 40), dtype=np.uint8)
    pixels[5:9, 10:17] = 255
    image = Image.fromarray(pixels)
    image.getexif()[0x0112] = orientation
    upright = np.array(ImageOps.exif_transpose(image))
    rows, columns = np.nonzero(upright)
    seen = boxes([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    assert unturned(seen, (30, 40), orientation).tolist() == [[10, 5, 17, 9]]


def stored(
    stated: tuple[int, int] | None, header: Header, box: list[float], upright: bool = False
) -> tuple[list[list[float]], float, Ledger]:
    ledger = Ledger("tiny", 0.05)
    found, factor = stored_boxes(PATH, Declared(stated, boxes(box)), header, ledger, upright=upright)
    return found.tolist(), factor, ledger


def test_the_size_that_is_stated_is_that_of_the_image(caplog: pytest.LogCaptureFixture) -> None:
    for stated in ((48, 64), None):
        found, factor, ledger = stored(stated, Header(48, 64), [1, 2, 3, 4])
        ledger.close(1)
        assert (found, factor) == ([[1, 2, 3, 4]], 1.0)
    assert not caplog.messages


def test_a_shrunk_image_takes_its_boxes_along(caplog: pytest.LogCaptureFixture) -> None:
    found, factor, ledger = stored((480, 640), Header(48, 64), [20, 15, 50, 40])
    ledger.close(1)
    assert found == [[2.0, 1.5, 5.0, 4.0]]
    assert factor == pytest.approx(0.01)
    assert caplog.messages[0].startswith("tiny: 1 images are not of the size that their annotations state; the boxes")
    # 333x500 at 0.3 is 99.9x150, stored as 100x150.
    assert stored((333, 500), Header(100, 150), [0, 0, 500, 333])[0] == [[0, 0, 150, 100]]


def test_an_image_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"is 64x48 px, its annotations state 640x640 \(width x height\)"):
        stored((640, 640), Header(48, 64), [20, 15, 50, 40])


def test_height_and_width_in_the_other_order(caplog: pytest.LogCaptureFixture) -> None:
    found, _, ledger = stored((64, 48), Header(48, 64), [50, 5, 60, 40])
    ledger.close(1)
    assert found == [[50, 5, 60, 40]]
    assert "height and width in the other order" in caplog.messages[0]
    with pytest.raises(ValueError, match="is 64x48 px"):
        stored((64, 48), Header(48, 64), [5, 50, 40, 60])  # fits the size that is stated alone


def test_a_turn_in_exif_is_said_and_applied_where_the_set_was_drawn_upright(caplog: pytest.LogCaptureFixture) -> None:
    turned = Header(48, 64, 6)  # upright it is 64 high and 48 wide
    assert drawn_upright({PATH: Declared((64, 48), boxes())}, {PATH: turned})
    assert not drawn_upright({PATH: Declared((48, 64), boxes())}, {PATH: turned})
    assert not drawn_upright({PATH: Declared(None, boxes())}, {PATH: turned})
    with caplog.at_level(logging.WARNING):
        found, _, ledger = stored((64, 48), turned, [0, 0, 10, 20], upright=True)
        assert found == unturned(boxes([0, 0, 10, 20]), (48, 64), 6).tolist()
        ledger.close(1)
        found, _, ledger = stored(None, turned, [0, 0, 10, 20])
        assert found == [[0, 0, 10, 20]]
        ledger.close(1)
    assert "the boxes are turned to the stored pixels" in caplog.messages[0]
    assert "which is not applied: boxes are taken to be of the stored pixels" in caplog.messages[1]
