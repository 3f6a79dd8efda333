"""Prophesee's box files, `*_bbox.npy`: read and written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emsyolo.dataset.event.npy import MAX_TIME_US, SECONDS, read_npy, refuse_seconds, whole_numbers
from emsyolo.io import written_whole

# Of Prophesee's toolbox; older files call the time `ts` and the confidence `confidence`.
DTYPE = np.dtype(
    {
        "names": ["t", "x", "y", "w", "h", "class_id", "track_id", "class_confidence"],
        "formats": ["<i8", "<f4", "<f4", "<f4", "<f4", "<u4", "<u4", "<f4"],
        "offsets": [0, 8, 12, 16, 20, 24, 28, 32],
        "itemsize": 40,
    }
)
SPELLINGS = {"t": ("t", "ts"), "class_confidence": ("class_confidence", "confidence")}
OPTIONAL = {"class_confidence": 1.0}
MAX_ID = 2**32  # of a class or a track, either sign
LEAST_TIMES, LEAST_STEP_US = 3, 100  # no data set is labelled ten thousand times a second


@dataclass(frozen=True)
class EventBoxes:
    """Boxes of a recording, in the order of the file.

    Attributes:
        t_us: `[M]` int64, microseconds.
        boxes_xyxy: `[M, 4]` float64, px of the sensor; may reach outside.
        class_id: `[M]` int64.
        track_id: `[M]` int64; an object keeps it over time.
        confidence: `[M]` float64.
    """

    t_us: NDArray[np.int64]
    boxes_xyxy: NDArray[np.float64]
    class_id: NDArray[np.int64]
    track_id: NDArray[np.int64]
    confidence: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.t_us)

    def select(self, keep: NDArray[np.bool_] | NDArray[np.intp]) -> EventBoxes:
        """The boxes that `keep` (`[M]` bool, or indices) picks."""
        return EventBoxes(
            self.t_us[keep], self.boxes_xyxy[keep], self.class_id[keep], self.track_id[keep], self.confidence[keep]
        )


def read_boxes(path: Path) -> EventBoxes:
    """The boxes of a `*_bbox.npy`; never unpickles.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an array of boxes, a field that is missing, a value that is not finite, times that can hardly
            be microseconds; names file, field, row.
    """
    try:
        rows = read_npy(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: looked for the boxes of a recording and found none") from error
    except ValueError as error:
        raise ValueError(f"{path}: cannot be read ({error}); expected Prophesee's boxes") from error
    return boxes_of(rows, path)


def boxes_of(rows: NDArray[Any], path: Path) -> EventBoxes:
    """The boxes in the rows of a file, which are found by the names of their fields.

    Raises:
        ValueError: as `read_boxes`.
    """
    if rows.ndim != 1:
        raise ValueError(f"{path}: an array {rows.shape}; expected one row of Prophesee's fields for each box")
    names = rows.dtype.names or ()
    columns = {}
    for field in DTYPE.names or ():
        found = next((name for name in SPELLINGS.get(field, (field,)) if name in names), None)
        if found is None and field not in OPTIONAL:
            raise ValueError(
                f"{path}: no field {' or '.join(SPELLINGS.get(field, (field,)))}; has {', '.join(names) or 'no fields'}"
            )
        columns[field] = np.full(len(rows), OPTIONAL[field]) if found is None else rows[found]
    for field, column in columns.items():
        if column.ndim != 1 or column.dtype.kind not in "biuf":
            raise ValueError(f"{path}: {field} is {column.dtype} {column.shape}; expected a number in each row")
    xywh = np.stack([np.asarray(columns[side], dtype=np.float64) for side in "xywh"], axis=-1).reshape(-1, 4)
    broken = ~np.isfinite(xywh).all(axis=1)
    if broken.any():
        raise ValueError(
            f"{path}: row {int(broken.argmax())}: x, y, w, h are {xywh[broken.argmax()]}; expected numbers"
        )
    try:
        t_us = whole_numbers(columns["t"], "t", 0, MAX_TIME_US, SECONDS)
        refuse_seconds(columns["t"], "t")
        _refuse_other_units(t_us)
        class_id, track_id = (whole_numbers(columns[name], name, -MAX_ID, MAX_ID) for name in ("class_id", "track_id"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return EventBoxes(
        t_us,
        np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1),
        class_id,
        track_id,
        columns["class_confidence"].astype(np.float64),
    )


def _refuse_other_units(t_us: NDArray[np.int64]) -> None:
    """Refuse labelled times that follow each other faster than any is labelled."""
    times = np.unique(t_us)
    if len(times) >= LEAST_TIMES and np.median(np.diff(times)) < LEAST_STEP_US:
        raise ValueError(
            f"boxes at {len(times)} times within {times[-1] - times[0]} us; expected microseconds; times in seconds or "
            "milliseconds? Multiply them by 1e6 or 1e3"
        )


def write_boxes(path: Path, boxes: EventBoxes) -> None:
    """Write boxes in the form of Prophesee's toolbox, whole or not at all."""
    rows = np.zeros(len(boxes), dtype=DTYPE)
    corners = boxes.boxes_xyxy
    rows["t"] = boxes.t_us
    rows["x"], rows["y"] = corners[:, 0], corners[:, 1]
    rows["w"], rows["h"] = corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1]
    rows["class_id"], rows["track_id"], rows["class_confidence"] = boxes.class_id, boxes.track_id, boxes.confidence
    with written_whole(path) as temporary, temporary.open("wb") as file:
        np.save(file, rows, allow_pickle=False)


def last_per_track(boxes: EventBoxes) -> EventBoxes:
    """Of several boxes with one time and one track, the last."""
    keys = np.stack([boxes.t_us, boxes.track_id], axis=1)[::-1]
    _, first_from_behind = np.unique(keys, axis=0, return_index=True)
    return boxes.select(np.sort(len(boxes) - 1 - first_from_behind))
