"""Scenes of N-MNIST: recordings of handwritten digits by a real ATIS camera, placed on one canvas."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emsyolo.dataset.event.boxes import EventBoxes
from emsyolo.dataset.event.events import Events
from emsyolo.dataset.event.moving_digits import Take
from emsyolo.dataset.event.recording import open_recording
from emsyolo.text import read_text

VERSION = 1  # of the scenes; a change of the generator is a new version, for figures must compare
SENSOR_HW = (240, 304)
PATCH_PX = 34
LISTS = {"train": "train1K.txt", "test": "test100.txt"}
DIGITS = (6, 14)
LABELS_US = (600_000, 900_000)
EDGE = 0.01  # share of the events that may lie outside the box, on each side
NEIGHBOURS = 3  # events within a pixel; fewer in the whole recording is noise
TRIES = 200
HOW_TO_GET = (
    "expected the recordings NUMBER.bs2 with train1K.txt and test100.txt (number and class in each line); N-MNIST: "
    "Orchard et al., Frontiers in Neuroscience 2015; type dataset.root=FOLDER"
)


@dataclass(frozen=True)
class Glyph:
    """A recording of one digit.

    Attributes:
        events: within 34x34 px, from 0 on.
        box_xyxy: `[4]` around the digit, px.
        digit: 0 to 9.
    """

    events: Events
    box_xyxy: NDArray[np.float64]
    digit: int


def load_glyphs(root: Path, split: str) -> list[Glyph]:
    """The recordings of a split.

    Raises:
        FileNotFoundError: the list or a recording is not there; says what is expected.
        ValueError: a damaged list or recording; names file and line.
    """
    if split not in LISTS:
        raise ValueError(f"split={split!r} of N-MNIST is unknown; expected one of {', '.join(LISTS)}")
    file = root / LISTS[split]
    if not file.is_file():
        raise FileNotFoundError(f"{file}: looked for it and found none; {HOW_TO_GET}")
    glyphs = []
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        fields = line.split()
        if not fields or line.startswith("#"):
            continue
        if len(fields) != 2 or not all(field.isdigit() for field in fields) or int(fields[1]) > 9:
            raise ValueError(f"{file}, line {number}: {line!r}; expected the number of a recording and a digit")
        events = open_recording(root / f"{fields[0]}.bs2", (PATCH_PX, PATCH_PX)).events()
        if not len(events):
            raise ValueError(f"{root / fields[0]}.bs2: no event")
        glyphs.append(Glyph(_from_zero(events), glyph_box(events), int(fields[1])))
    return glyphs


def _from_zero(events: Events) -> Events:
    return Events(events.t - events.t[0], events.x, events.y, events.p)


def glyph_box(events: Events) -> NDArray[np.float64]:
    """The box xyxy around a digit: 98 % of its events along x and along y, those of lonely pixels left out.

    The camera moves by some pixels while it records, and the box holds all of the way.
    """
    counts = np.zeros((PATCH_PX + 2, PATCH_PX + 2), dtype=np.int64)
    np.add.at(counts, (events.y + 1, events.x + 1), 1)
    around = np.sum([np.roll(counts, (i, j), axis=(0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)], axis=0)
    crowded = around[events.y + 1, events.x + 1] > NEIGHBOURS
    x, y = (events.x[crowded], events.y[crowded]) if crowded.any() else (events.x, events.y)
    (x0, x1), (y0, y1) = (np.quantile(side, (EDGE, 1 - EDGE), method="nearest") for side in (x, y))
    return np.array([x0, y0, x1 + 1.0, y1 + 1.0])


def nmnist_scene(index: int, split: str, glyphs: list[Glyph], *, seed: int = 0) -> Take:
    """One scene of 0.9 seconds on 240x304 px (HxW), which depends only on these arguments.

    6 to 14 recordings, no two of which overlap, each played over and over from a random time on, so that every digit is
    seen at both labelled times, 0.6 and 0.9 s.

    Args:
        index: number of the scene.
        split: `train` or `test`.
        glyphs: of the split, as `load_glyphs` gives them.
        seed: of everything.
    """
    rng = np.random.default_rng([VERSION, seed, list(LISTS).index(split), index])
    height, width = SENSOR_HW
    places: list[tuple[int, int]] = []
    wanted = int(rng.integers(DIGITS[0], DIGITS[1] + 1))
    for _ in range(TRIES):
        x, y = int(rng.integers(width - PATCH_PX + 1)), int(rng.integers(height - PATCH_PX + 1))
        if all(max(abs(x - a), abs(y - b)) >= PATCH_PX for a, b in places):
            places.append((x, y))
        if len(places) == wanted:
            break
    parts, boxes, digits = [], [], []
    for x, y in places:
        glyph = glyphs[int(rng.integers(len(glyphs)))]
        parts.append(_played(glyph.events, int(rng.integers(glyph.events.t[-1] + 1)), x, y))
        boxes.append(glyph.box_xyxy + np.array([x, y, x, y]))
        digits.append(glyph.digit)
    t, *rest = (np.concatenate([getattr(part, axis) for part in parts]) for axis in "txyp")
    order = np.argsort(t, kind="stable")
    count, labels = len(places), len(LABELS_US)
    return Take(
        Events(t, *rest).select(order),
        EventBoxes(
            np.repeat(LABELS_US, count),
            np.tile(np.array(boxes), (labels, 1)),
            np.tile(digits, labels),
            np.tile(np.arange(count), labels),
            np.ones(count * labels),
        ),
    )


def _played(events: Events, phase_us: int, x: int, y: int) -> Events:
    """A recording played over and over, from a phase on, until the last label, at a place of the canvas."""
    length = int(events.t[-1]) + 1
    rounds = -(-(LABELS_US[-1] + phase_us) // length)
    t = np.concatenate([events.t + i * length for i in range(rounds)]) - phase_us
    inside = (t >= 0) & (t < LABELS_US[-1])
    column, row = (np.tile(side, rounds) + np.uint16(by) for side, by in ((events.x, x), (events.y, y)))
    return Events(t, column, row, np.tile(events.p, rounds)).select(inside)
