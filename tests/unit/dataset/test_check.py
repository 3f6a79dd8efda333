from __future__ import annotations

import logging

import numpy as np
import pytest

from emsyolo.dataset.check import clean_boxes, first, require_images
from emsyolo.dataset.images import plain_record
from emsyolo.text import shortlist


def test_shortlist_shows_ten_and_counts_the_rest() -> None:
    assert shortlist(str(i) for i in range(3)) == "0, 1, 2"
    assert shortlist(str(i) for i in range(12)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, and 2 more"


def test_boxes_are_clipped_or_dropped_and_reported(caplog: pytest.LogCaptureFixture) -> None:
    nan = float("nan")
    boxes = [
        [-5, 2, 10, 12],  # reaches outside
        [1, 1, 40.3, 5],  # by less than half a pixel: clipped without a word
        [9, 9, 3, 12],  # negative width
        [5, 5, 5, 8],  # no width
        [50, 5, 60, 9],  # outside
        [nan, 0, 5, 5],
        [1, 2, 3, 4],
    ]
    record = plain_record(0, None, (30, 40), boxes, range(7), name="a.jpg", area=[99.0] * 6 + [3.0])
    with caplog.at_level(logging.WARNING):
        (clean,) = clean_boxes([record], "tiny")
    np.testing.assert_array_equal(clean.boxes_xyxy, [[0, 2, 10, 12], [1, 1, 40, 5], [1, 2, 3, 4]])
    assert clean.labels.tolist() == [0, 1, 6]
    assert clean.area.tolist() == [
        99.0,
        99.0,
        3.0,
    ]  # never more than the clipped box; an outline's area otherwise stays
    assert caplog.messages == [
        "tiny: 1 boxes reach outside their image and are clipped: a.jpg",
        "tiny: 4 boxes without any area left out: a.jpg",
    ]


def test_the_area_of_a_clipped_box_is_at_most_what_is_left() -> None:
    record = plain_record(0, None, (30, 40), [[-10, 0, 10, 10]], [0], area=[180.0])
    assert clean_boxes([record], "tiny")[0].area.tolist() == [100.0]


def test_an_empty_data_set_says_where_was_looked() -> None:
    with pytest.raises(ValueError, match="tiny: no usable image; looked in some/folder"):
        require_images([], "tiny", "some/folder")


def test_limit() -> None:
    assert list(first([1, 2, 3], 2)) == [1, 2]
    assert list(first([1, 2, 3], None)) == [1, 2, 3]
    with pytest.raises(ValueError, match="limit=0: expected at least 1 image, or null for all"):
        first([1, 2, 3], 0)
