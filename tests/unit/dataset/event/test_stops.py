"""Stops of objects, by hand and in a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from emsyolo.dataset.event.boxes import EventBoxes
from emsyolo.dataset.event.stops import Stops, read_stops, stopped_for_us, write_stops

STOPS = Stops(np.array([0, 0, 1]), np.array([1_000, 9_000, 2_000]), np.array([4_000, 10_000, 6_000]))


def boxes_at(*rows: tuple[int, int]) -> EventBoxes:
    t_us, track_id = (np.array(column) for column in zip(*rows, strict=True))
    nothing = np.zeros(len(rows))
    return EventBoxes(t_us, np.zeros((len(rows), 4)), nothing.astype(np.int64), track_id, nothing)


def test_time_since_the_stop_by_hand() -> None:
    boxes = boxes_at((999, 0), (1_000, 0), (3_500, 0), (4_000, 0), (4_001, 0), (9_500, 0), (3_500, 1), (3_500, 2))
    assert stopped_for_us(boxes, STOPS).tolist() == [-1, 0, 2_500, 3_000, -1, 500, 1_500, -1]


def test_stops_come_back_from_their_file(tmp_path: Path) -> None:
    write_stops(tmp_path / "a_stops.npy", STOPS)
    again = read_stops(tmp_path / "a_stops.npy")
    assert [again.track_id.tolist(), again.start_us.tolist(), again.end_us.tolist()] == [
        STOPS.track_id.tolist(), STOPS.start_us.tolist(), STOPS.end_us.tolist()
    ]  # fmt: skip


def test_what_holds_no_stops_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"a_stops\.npy: looked for the stops of a recording and found none"):
        read_stops(tmp_path / "a_stops.npy")
    np.save(tmp_path / "b_stops.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"b_stops\.npy: an array \(3,\) of float64; expected rows of track_id, start"):
        read_stops(tmp_path / "b_stops.npy")
    (tmp_path / "c_stops.npy").write_bytes(b"no array")
    with pytest.raises(ValueError, match=r"c_stops\.npy: cannot be read"):
        read_stops(tmp_path / "c_stops.npy")
