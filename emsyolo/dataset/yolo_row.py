"""One row of a YOLO label file, in any of the forms that tools write."""

from __future__ import annotations

import math
from dataclasses import dataclass

CONFIDENCE = "rows have a confidence, which is not used"
OUTLINE = "rows are outlines (or turned boxes); their upright boxes are used"
KEYPOINTS = "rows have keypoints; their boxes are used"
FORM = "expected `class x y width height`, a whole number and four shares of the image"
MAX_SHARE = 1.5  # a box may reach outside its image by rounding or cropping; beyond this it is no share
VISIBLE = (0.0, 1.0, 2.0)  # of a keypoint: not labelled, hidden, seen


class NoBoxError(ValueError):
    """A row that cannot be used; the message says why."""


@dataclass(frozen=True)
class Row:
    """A box with its class.

    Attributes:
        label: class number.
        shares_xyxy: corners as shares of the image's width and height.
        form: what to tell the user of the row's form; None for a plain box.
    """

    label: int
    shares_xyxy: tuple[float, float, float, float]
    form: str | None = None


def read_row(line: str, num_classes: int, keypoints: tuple[int, int] | None = None) -> Row:
    """The box of a row.

    Rows of five numbers are `class x y width height`. Longer ones are told apart by their length: 6, a confidence at
    the end; keypoints after the box, if `kpt_shape` says so or every third number is a visibility; an odd number, an
    outline of points (with a confidence, an even one).

    Args:
        line: of the file.
        num_classes: the class number is below it.
        keypoints: `kpt_shape` of `data.yaml`: how many, and 2 or 3 numbers each.

    Raises:
        NoBoxError: not such a row, a class out of range, or numbers that are no shares.
    """
    fields = line.split()
    try:
        numbers = [float(field) for field in fields]
    except ValueError as error:
        raise NoBoxError(f"{_short(line)}; {FORM}") from error
    if len(numbers) < 5 or not all(map(math.isfinite, numbers)) or numbers[0] != int(numbers[0]):
        raise NoBoxError(f"{_short(line)}; {FORM}")
    label, values = int(numbers[0]), numbers[1:]
    if not 0 <= label < num_classes:
        raise NoBoxError(f"class {label}; expected 0 to {num_classes - 1}")
    form = _form(values, keypoints)
    if form == OUTLINE:
        points = values[: len(values) // 2 * 2]
        xs, ys = points[::2], points[1::2]
        corners = (min(xs), min(ys), max(xs), max(ys))
    else:
        x, y, width, height = values[:4]
        corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    if max(map(abs, values if form == OUTLINE else values[:4])) > MAX_SHARE:
        raise NoBoxError(f"{_short(line)}; these are no shares of the image, which are at most 1: pixels?")
    return Row(label, corners, form)


def _form(values: list[float], keypoints: tuple[int, int] | None) -> str | None:
    """What the numbers after the class are, by their count; None: a box."""
    count = len(values)
    if count == 4:
        return None
    if keypoints is not None and count in (4 + keypoints[0] * keypoints[1], 5 + keypoints[0] * keypoints[1]):
        return KEYPOINTS
    if count == 5:
        return CONFIDENCE
    marks = values[6::3]
    closed = values[:2] == values[-2:]  # an outline whose last point is its first
    if count % 3 == 1 and not closed and all(mark in VISIBLE for mark in marks) and (2.0 in marks or _holds(values)):
        return KEYPOINTS
    return OUTLINE


def _holds(values: list[float]) -> bool:
    """Whether the box holds the keypoints after it, those that are not labelled being at 0, 0.

    An outline that follows the image's border has 0 and 1 at every third place, too.
    """
    x, y, width, height = values[:4]
    points = zip(values[4::3], values[5::3], values[6::3], strict=True)
    return all(abs(a - x) <= width / 2 and abs(b - y) <= height / 2 if mark else a == b == 0 for a, b, mark in points)


def _short(line: str) -> str:
    text = line.strip()
    return repr(text if len(text) <= 60 else f"{text[:60]}...")
