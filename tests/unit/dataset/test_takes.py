"""Recordings that are made on the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from emsyolo.dataset.event.boxes import read_boxes
from emsyolo.dataset.event.moving_digits import STOPS_LABELS_US
from emsyolo.dataset.event.representation import Counts
from emsyolo.dataset.event.stops import read_stops, stopped_for_us
from emsyolo.dataset.takes import digits_dvs_stops

NAMES = [str(digit) for digit in range(10)]
FRAMING = {"representation": Counts(), "steps": 2, "window_us": 80_000, "sensor_hw": (96, 128)}


def test_digits_that_stop_are_written_with_their_stops(tmp_path: Path) -> None:
    data = digits_dvs_stops(tmp_path, "test", limit=2, class_names=NAMES, **FRAMING)
    assert len(data) == 2
    folder = tmp_path / "v1_0" / "test"
    assert sorted(path.name for path in folder.iterdir()) == ["0000_bbox.npy", "0000_stops.npy", "0000_td.dat"]
    boxes = read_boxes(folder / "0000_bbox.npy")
    since = stopped_for_us(boxes, read_stops(folder / "0000_stops.npy"))
    assert set(boxes.t_us.tolist()) == set(STOPS_LABELS_US)
    assert 0.1 < (since >= 0).mean() < 0.9
    written = (folder / "0000_stops.npy").stat().st_mtime_ns
    digits_dvs_stops(tmp_path, "test", limit=2, class_names=NAMES, **FRAMING)
    assert (folder / "0000_stops.npy").stat().st_mtime_ns == written  # made once


def test_an_unknown_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="split='val' is unknown; expected one of train, test"):
        digits_dvs_stops(tmp_path, "val", class_names=NAMES, **FRAMING)
