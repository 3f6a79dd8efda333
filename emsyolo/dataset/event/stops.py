"""When the objects of a recording stood still, `*_stops.npy` beside the boxes: what an event camera does not see."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emsyolo.dataset.event.boxes import EventBoxes
from emsyolo.dataset.event.npy import read_npy
from emsyolo.io import written_whole

DTYPE = np.dtype([("track_id", "<u4"), ("start", "<i8"), ("end", "<i8")])
STOPS = "_stops.npy"  # the end of such a file's name
MOVING = -1  # in the place of a time since the stop


@dataclass(frozen=True)
class Stops:
    """The stops of a recording.

    Attributes:
        track_id: `[S]` int64, as in its boxes.
        start_us: `[S]` int64, microseconds; from here on the object stands.
        end_us: `[S]` int64; from here on it moves again.
    """

    track_id: NDArray[np.int64]
    start_us: NDArray[np.int64]
    end_us: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.track_id)


def stopped_for_us(boxes: EventBoxes, stops: Stops) -> NDArray[np.int64]:
    """For each box, how long its object has stood still at the box's time, `[M]` microseconds; -1 where it moves."""
    found = np.full(len(boxes), MOVING, dtype=np.int64)
    for track, start, end in zip(stops.track_id, stops.start_us, stops.end_us, strict=True):
        standing = (boxes.track_id == track) & (boxes.t_us >= start) & (boxes.t_us <= end)
        found[standing] = boxes.t_us[standing] - start
    return found


def write_stops(path: Path, stops: Stops) -> None:
    """Write stops as one row of `DTYPE` each, whole or not at all."""
    rows = np.zeros(len(stops), dtype=DTYPE)
    rows["track_id"], rows["start"], rows["end"] = stops.track_id, stops.start_us, stops.end_us
    with written_whole(path) as temporary, temporary.open("wb") as file:
        np.save(file, rows, allow_pickle=False)


def read_stops(path: Path) -> Stops:
    """The stops of a `*_stops.npy`; never unpickles.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an array of stops; names the file.
    """
    try:
        rows = read_npy(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{path}: looked for the stops of a recording and found none; dataset=digits_dvs_stops has them"
        ) from error
    except ValueError as error:
        raise ValueError(f"{path}: cannot be read ({error}); expected the stops of a recording") from error
    if rows.ndim != 1 or rows.dtype != DTYPE:
        raise ValueError(
            f"{path}: an array {rows.shape} of {rows.dtype}; expected rows of {', '.join(DTYPE.names or ())}"
        )
    track_id, start_us, end_us = (rows[name].astype(np.int64) for name in ("track_id", "start", "end"))
    return Stops(track_id, start_us, end_us)
