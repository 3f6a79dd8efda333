"""Boxes beside recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from emsyolo.dataset.event.boxes import DTYPE, EventBoxes, last_per_track, read_boxes, write_boxes

IDS = [("class_id", "u4"), ("track_id", "u4")]


def test_boxes_at_times_in_seconds_are_refused(tmp_path: Path) -> None:
    rows = np.zeros(2, dtype=[(name, "f8") for name in ("t", "x", "y", "w", "h", "class_id", "track_id")])
    rows["t"] = [0.25, 0.5]
    np.save(tmp_path / "a_bbox.npy", rows)
    with pytest.raises(ValueError, match=r"a_bbox\.npy: row 0: t is 0\.25; .*times in seconds"):
        read_boxes(tmp_path / "a_bbox.npy")


def boxes(*rows: tuple[int, float, float, float, float, int, int]) -> EventBoxes:
    """Rows of t, x0, y0, x1, y1, class, track."""
    table = np.array(rows, dtype=np.float64).reshape(-1, 7)
    whole = table.astype(np.int64)
    return EventBoxes(whole[:, 0], table[:, 1:5], whole[:, 5], whole[:, 6], np.ones(len(table)))


def test_boxes_come_back(tmp_path: Path) -> None:
    some = boxes((5, -3.0, 2.0, 10.5, 20.0, 1, 7), (9, 0.0, 0.0, 400.0, 3.0, 0, 8))
    write_boxes(tmp_path / "a_bbox.npy", some)
    again = read_boxes(tmp_path / "a_bbox.npy")
    for field in ("t_us", "boxes_xyxy", "class_id", "track_id", "confidence"):
        np.testing.assert_array_equal(getattr(again, field), getattr(some, field))


def test_older_spelling_of_the_fields(tmp_path: Path) -> None:
    names = ["track_id", "ts", "x", "y", "w", "h", "class_id", "confidence"]
    rows = np.zeros(1, dtype=[(name, "<u8" if name == "ts" else "<f4") for name in names])
    rows["ts"], rows["x"], rows["y"], rows["w"], rows["h"], rows["class_id"] = 5, 1, 2, 3, 4, 1
    np.save(tmp_path / "a_bbox.npy", rows)
    found = read_boxes(tmp_path / "a_bbox.npy")
    assert found.t_us.tolist() == [5]
    assert found.boxes_xyxy.tolist() == [[1, 2, 4, 6]]
    assert found.class_id.tolist() == [1]


def test_bad_box_files(tmp_path: Path) -> None:
    path = tmp_path / "a_bbox.npy"
    np.save(path, np.array([{"t": 1}], dtype=object))
    with pytest.raises(ValueError, match=r"a_bbox\.npy: .*pickled"):
        read_boxes(path)
    np.save(path, np.zeros(2, dtype=[(name, "f4") for name in ("t", "x", "y", "w", "h", "class_id")]))
    with pytest.raises(ValueError, match=r"a_bbox\.npy: no field track_id; has t, x"):
        read_boxes(path)
    rows = np.zeros(2, dtype=DTYPE)
    rows["w"][1] = np.nan
    np.save(path, rows)
    with pytest.raises(ValueError, match=r"a_bbox\.npy: row 1"):
        read_boxes(path)


def test_last_label_of_a_track_counts() -> None:
    some = boxes(
        (5, 0, 0, 1, 1, 0, 7), (5, 0, 0, 2, 2, 0, 8), (5, 0, 0, 3, 3, 1, 7), (6, 0, 0, 4, 4, 0, 7)
    )  # fmt: skip
    assert last_per_track(some).boxes_xyxy[:, 2].tolist() == [2, 3, 4]


@pytest.mark.parametrize("kind", ["i8", "f8"])
def test_whole_seconds_are_refused(tmp_path: Path, kind: str) -> None:
    rows = np.zeros(60, dtype=[("t", kind), *((name, "f4") for name in ("x", "y", "w", "h")), *IDS])
    rows["t"] = np.arange(60)
    np.save(tmp_path / "a_bbox.npy", rows)
    with pytest.raises(ValueError, match=r"a_bbox\.npy: .*expected microseconds.*seconds"):
        read_boxes(tmp_path / "a_bbox.npy")
    rows["t"] = 16_667 * np.arange(60)
    np.save(tmp_path / "a_bbox.npy", rows)
    assert len(read_boxes(tmp_path / "a_bbox.npy")) == 60
