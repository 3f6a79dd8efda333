"""An image's size as its annotations state it, held against the size that it has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emsyolo.dataset.check import Ledger
from emsyolo.dataset.verify import Header

SCALED = "images are not of the size that their annotations state; the boxes are scaled to them"
TURNED = "annotations are of the upright image; the boxes are turned to the stored pixels"
SWAPPED = "annotations state height and width in the other order; the boxes, which fit, are kept"
EXIF = (
    "images have a turn in their EXIF data, which is not applied: boxes are taken to be of the stored pixels. If they "
    "were drawn on the upright images, write those upright"
)
ROUNDING_PX = 1  # a shrunk image's sides are rounded, one up and one down


@dataclass(frozen=True)
class Declared:
    """What a file of annotations states of an image.

    Attributes:
        size_hw: height and width, px; None if it states none, or 0.
        boxes_xyxy: `[M, 4]`, px of an image of that size.
    """

    size_hw: tuple[int, int] | None
    boxes_xyxy: NDArray[np.float64]


def drawn_upright(declared: dict[Path, Declared], headers: dict[Path, Header]) -> bool:
    """Whether the images of a set were annotated upright: one whose turn changes its shape tells."""
    shapes = [
        declared[path].size_hw == header.size_hw[::-1]
        for path, header in headers.items()
        if header.orientation >= 5 and header.height != header.width and declared[path].size_hw is not None
    ]
    return any(shapes)


def stored_boxes(
    path: Path, stated: Declared, header: Header, ledger: Ledger, *, upright: bool = False
) -> tuple[NDArray[np.float64], float]:
    """The boxes `[M, 4]` in px of the stored image, and what areas are to be multiplied by.

    Whatever is changed is noted in the ledger.

    Args:
        path: of the image.
        stated: by the annotations.
        header: of the file.
        ledger: of the data set.
        upright: the set was annotated on images turned by their EXIF data.

    Raises:
        ValueError: an image that is not the one that was annotated; the message is only the reason.
    """
    boxes, actual = stated.boxes_xyxy, header.size_hw
    shown = turned_size(actual, header.orientation) if upright else actual
    factor = 1.0
    if stated.size_hw is not None and stated.size_hw != shown:
        (h, w), (high, wide) = stated.size_hw, shown
        across = wide / w
        if abs(high - h * across) <= ROUNDING_PX * max(1.0, across):
            ledger.note(SCALED, path)
            boxes = boxes * np.tile([wide / w, high / h], 2)
            factor = (wide / w) * (high / h)
        elif (w, h) == shown and (boxes[:, 2:] <= [wide + ROUNDING_PX, high + ROUNDING_PX]).all():
            ledger.note(SWAPPED, path)
        else:
            raise ValueError(f"is {wide}x{high} px, its annotations state {w}x{h} (width x height)")
    if header.orientation != 1:
        ledger.note(TURNED if upright else EXIF, path)
        if upright:
            boxes = unturned(boxes, actual, header.orientation)
    return boxes, factor


def turned_size(size_hw: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Height and width of an upright image, px, by its stored size and EXIF's orientation."""
    return size_hw[::-1] if orientation >= 5 else size_hw


def unturned(boxes_xyxy: NDArray[np.float64], size_hw: tuple[int, int], orientation: int) -> NDArray[np.float64]:
    """Boxes `[M, 4]` of the upright image in px of the stored one.

    Args:
        boxes_xyxy: px of the upright image.
        size_hw: of the stored image, px.
        orientation: EXIF's, 1 to 8: where the stored image's first row and column lie in the upright one.
    """
    height, width = size_hw
    x0, y0, x1, y1 = boxes_xyxy.T
    if orientation >= 5:  # rows and columns change places
        x0, y0, x1, y1 = y0, x0, y1, x1
    if orientation in (2, 3, 7, 8):
        x0, x1 = width - x1, width - x0
    if orientation in (3, 4, 6, 7):
        y0, y1 = height - y1, height - y0
    return np.stack([x0, y0, x1, y1], axis=1)
