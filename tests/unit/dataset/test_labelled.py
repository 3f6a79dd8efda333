"""Classes, filters and thinning of the boxes of recordings, by hand-worked numbers."""

from __future__ import annotations

import numpy as np
import pytest

from emsyolo.dataset.event.box_filter import BoxFilter
from emsyolo.dataset.event.boxes import EventBoxes
from emsyolo.dataset.labelled import labels_by_number, selected, thinned


def boxes(*rows: tuple[float, ...]) -> EventBoxes:
    """Rows of t, x0, y0, x1, y1."""
    table = np.array(rows, dtype=np.float64).reshape(-1, 5)
    count = len(table)
    return EventBoxes(
        table[:, 0].astype(np.int64), table[:, 1:], np.zeros(count, np.int64), np.arange(count), np.ones(count)
    )


def test_class_numbers_merge() -> None:
    names = ["pedestrian", "vehicle", "micro-mobility"]
    assert labels_by_number([[0], [2, 3, 5, 6], [1, 4, 7]], names) == {
        0: 0, 2: 1, 3: 1, 5: 1, 6: 1, 1: 2, 4: 2, 7: 2
    }  # fmt: skip
    assert labels_by_number([4, [1, 9]], names[:2]) == {4: 0, 1: 1, 9: 1}
    assert labels_by_number(None, names) == {0: 0, 1: 1, 2: 2}


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([0], r"class_ids=\[0\]; expected a class number, or a list of them, for each of \['a', 'b'\]"),
        ([[0, 1], 1], r"1 stands there twice, for a and b"),
        ([[0, 0], 1], r"0 stands there twice, for a and a"),
        ([0, [1.5]], r"1\.5 is no class number"),
        ([0, [True]], r"True is no class number"),
    ],
)
def test_class_numbers_that_do_not_fit(ids: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        labels_by_number(ids, ["a", "b"])


def test_labels_are_thinned_to_a_rate() -> None:
    at_60_hz = np.arange(60) * 16_666
    assert thinned(at_60_hz, 100_000).tolist() == at_60_hz[::6].tolist()  # 99,996 us apart
    assert thinned(np.array([5, 90_000, 98_005, 120_000]), 100_000).tolist() == [5, 98_005]
    assert thinned(np.array([5, 98_004]), 100_000).tolist() == [5]
    assert thinned(np.array([0, 89, 90, 179]), 100).tolist() == [0, 90]  # a tenth of a short step
    assert thinned(np.empty(0, np.int64), 100).tolist() == []
    with pytest.raises(ValueError, match="label_every_us=0"):
        selected(boxes(), (240, 304), None, 0)


def test_boxes_are_cropped_before_they_are_filtered_and_thinned_after() -> None:
    rvt = BoxFilter(min_diagonal_px=30, min_side_px=10, max_width_share=0.9)
    kept = selected(
        boxes(
            (0, 290, 0, 400, 200),  # 14 px of it are within: 14 x 200
            (10_000, 296, 0, 400, 200),  # 8 px
            (20_000, -10, 0, 263.6, 100),  # 0.867 of the width
            (30_000, 10, 0, 284, 100),  # 0.901
            (40_000, 0, 230, 100, 300),  # 100 x 10
        ),
        (240, 304),
        rvt,
        None,
    )
    assert kept.t_us.tolist() == [0, 20_000, 40_000]
    assert kept.boxes_xyxy[0].tolist() == [290, 0, 400, 200]  # clipped, and said, with all of the set
    # The first time has no box that counts, so that the second is the first of the thinned ones.
    early = selected(boxes((0, 0, 0, 5, 5), (50_000, 0, 0, 50, 50), (100_000, 0, 0, 50, 50)), (240, 304), rvt, 100_000)
    assert early.t_us.tolist() == [50_000]


def test_a_share_of_the_width_is_of_training_only() -> None:
    with pytest.raises(ValueError, match=r"max_width_share=0\.9: a filter of the boxes to train on"):
        BoxFilter(max_width_share=0.9).keep(np.ones((1, 2)))
    with pytest.raises(ValueError, match=r"max_width_share=90: expected a share"):
        BoxFilter(max_width_share=90)
