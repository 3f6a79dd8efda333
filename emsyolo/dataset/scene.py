"""One scene of handwritten digits, from nothing but a generator of random numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Floats = NDArray[np.float64]

MAX_DIGITS = 6
SIDE_PX = (18, 48)  # of the square to which the 8x8 scan is enlarged, both included
MAX_COVERED = 0.3  # share of either box that another may cover
MIN_CONTRAST = 0.3
CONTRASTED = 0.9  # share of the pixels around a digit that its colour must differ from
DRIFT = 0.12  # of each channel of the background, either way
NOISE_SIGMA = 0.05
INK_FROM, INK_FULL = 0.3, 0.7  # darkness of the enlarged scan where ink begins and where it is opaque
BOXED_INK = 0.5  # opacity from which a pixel belongs to the box
DISTRACTORS = (2, 5)
LUMINANCE = np.array([0.299, 0.587, 0.114])  # Rec. 601
TRIES = 100


@dataclass(frozen=True)
class Scene:
    """An image and its digits.

    Attributes:
        image: `[H, W, 3]` uint8, RGB.
        boxes_xyxy: `[M, 4]` float64, px, tight around the ink.
        digits: `[M]` int64.
    """

    image: NDArray[np.uint8]
    boxes_xyxy: Floats
    digits: NDArray[np.int64]


def scene(rng: np.random.Generator, scans: Floats, digits: NDArray[np.int64], size_hw: tuple[int, int]) -> Scene:
    """Digits before a smooth background, distractors behind them, noise over all.

    1 to 6 digits, fewer if there is no room: each the scan enlarged (bicubic) to a square of 18 to 48 px, in one random
    colour. A pixel belongs to the box if its ink is at least half opaque; the intersection of two boxes is at most 30 %
    of either. Contrast is the difference in luminance (Rec. 601, full scale 1) between the digit's colour and what lies
    in its square; it is at least 0.3 for nine pixels in ten, so that no part of a digit fades into the background.
    Gaussian noise of sigma 0.05 of full scale comes last.

    Args:
        rng: is advanced.
        scans: `[S, 8, 8]` in [0, 1], 1 is ink.
        digits: `[S]`, the digit of each scan.
        size_hw: height and width, px.

    Raises:
        ValueError: a scene smaller than the largest digit.
    """
    if min(size_hw) < SIDE_PX[1]:
        raise ValueError(
            f"size_hw={list(size_hw)}: expected at least {SIDE_PX[1]} px each way, the largest digit's side"
        )
    canvas = distractors(rng, background(rng, size_hw))
    boxes: list[Floats] = []
    found: list[int] = []
    wanted = int(rng.integers(1, MAX_DIGITS + 1))
    for _ in range(TRIES):
        if len(found) == wanted:
            break
        chosen = int(rng.integers(len(scans)))
        opacity = ink(scans[chosen], int(rng.integers(SIDE_PX[0], SIDE_PX[1] + 1)))
        box = draw(rng, canvas, opacity, boxes)
        if box is not None:
            boxes.append(box)
            found.append(int(digits[chosen]))
    if not found:  # nothing stands out from this background; draw another
        return scene(rng, scans, digits, size_hw)
    noisy = canvas + rng.normal(0.0, NOISE_SIGMA, canvas.shape)
    image = (np.clip(noisy, 0, 1) * 255).round().astype(np.uint8)
    return Scene(image, np.array(boxes, dtype=np.float64), np.array(found, dtype=np.int64))


def draw(rng: np.random.Generator, canvas: Floats, opacity: Floats, boxes: list[Floats]) -> Floats | None:
    """Put ink on the canvas, in place, and give its box xyxy; None, and nothing drawn, if no place or colour is met."""
    side = opacity.shape[0]
    place = free_place(rng, ink_box(opacity), side, boxes, (canvas.shape[0], canvas.shape[1]))
    if place is None:
        return None
    top, left = place
    part = canvas[top : top + side, left : left + side]
    colour = contrasting_colour(rng, part.reshape(-1, 3))
    if colour is None:
        return None
    part += opacity[..., None] * (colour - part)
    return ink_box(opacity) + np.array([left, top, left, top])


def enlarge(values: Floats, size_hw: tuple[int, int]) -> Floats:
    """A map `[h, w]`, resized with bicubic interpolation."""
    image = Image.fromarray(values.astype(np.float32))
    return np.asarray(image.resize(size_hw[::-1], Image.Resampling.BICUBIC), dtype=np.float64)


def ink(scan: Floats, side_px: int) -> Floats:
    """Opacity `[side, side]` in [0, 1] of a scan's ink, its edge made crisp by a smooth step."""
    rise = np.clip((enlarge(scan, (side_px, side_px)) - INK_FROM) / (INK_FULL - INK_FROM), 0, 1)
    return rise**2 * (3 - 2 * rise)


def ink_box(opacity: Floats) -> Floats:
    """The smallest box xyxy around ink that is at least half opaque, px."""
    rows, columns = np.nonzero(opacity >= BOXED_INK)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], dtype=np.float64)


def background(rng: np.random.Generator, size_hw: tuple[int, int]) -> Floats:
    """A smooth random background `[H, W, 3]` in [0, 1]: a random colour that drifts over the image."""
    coarse = rng.uniform(0.15, 0.85, 3) + rng.uniform(-DRIFT, DRIFT, (4, 5, 3))
    return np.clip(np.stack([enlarge(coarse[..., c], size_hw) for c in range(3)], axis=-1), 0, 1)


def distractors(rng: np.random.Generator, canvas: Floats) -> Floats:
    """The canvas with 2 to 5 strokes and blobs in random colours."""
    for _ in range(rng.integers(DISTRACTORS[0], DISTRACTORS[1] + 1)):
        shape = stroke if rng.random() < 0.5 else blob
        opacity = shape(rng, (canvas.shape[0], canvas.shape[1]))[..., None]
        canvas = canvas + opacity * (rng.random(3) - canvas)
    return canvas


def stroke(rng: np.random.Generator, size_hw: tuple[int, int]) -> Floats:
    """Opacity `[H, W]` of a bent line."""
    height, width = size_hw
    points = rng.uniform((0, 0), (width, height), (3, 2))
    along = np.linspace(0, 1, 12)[:, None]
    curve = (1 - along) ** 2 * points[0] + 2 * along * (1 - along) * points[1] + along**2 * points[2]
    image = Image.new("L", (width, height))
    ImageDraw.Draw(image).line(
        [tuple(p) for p in curve.tolist()], fill=255, width=int(rng.integers(1, 4)), joint="curve"
    )
    return np.asarray(image) / 255 * rng.uniform(0.4, 0.9)


def blob(rng: np.random.Generator, size_hw: tuple[int, int]) -> Floats:
    """Opacity `[H, W]` of a soft ellipse."""
    height, width = size_hw
    row, column = rng.uniform((0, 0), size_hw)
    spread_y, spread_x = rng.uniform(3, 14, 2)
    y, x = np.ogrid[:height, :width]
    return np.exp(-(((y - row) / spread_y) ** 2 + ((x - column) / spread_x) ** 2)) * rng.uniform(0.4, 0.9)


def free_place(
    rng: np.random.Generator, box: Floats, side_px: int, others: list[Floats], size_hw: tuple[int, int]
) -> tuple[int, int] | None:
    """Top and left of a square where its box covers at most 30 % of any other, and the reverse; None if none is met."""
    for _ in range(TRIES):
        top, left = (int(rng.integers(0, room - side_px + 1)) for room in size_hw)
        moved = box + np.array([left, top, left, top])
        if all(covered(moved, other) <= MAX_COVERED for other in others):
            return top, left
    return None


def covered(box: Floats, other: Floats) -> float:
    """Intersection of two boxes as a share of the smaller one."""
    sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
    smaller = min((box[2:] - box[:2]).prod(), (other[2:] - other[:2]).prod())
    return float(np.clip(sides, 0, None).prod() / smaller)


def contrasting_colour(rng: np.random.Generator, local: Floats) -> Floats | None:
    """A random colour whose luminance differs by at least 0.3 from nine in ten of the colours `local` `[P, 3]`.

    None if no such colour was drawn: where bright meets dark, there may be none.
    """
    colours = rng.random((64, 3))
    contrast = np.abs((colours @ LUMINANCE)[:, None] - (local @ LUMINANCE)[None])
    enough = (contrast >= MIN_CONTRAST).mean(axis=1) >= CONTRASTED
    return colours[enough.argmax()] if enough.any() else None
