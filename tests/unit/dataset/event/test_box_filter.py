"""Which boxes count, at the limits."""

from __future__ import annotations

import numpy as np
import pytest

from emsyolo.dataset.event.box_filter import BoxFilter

SIDES_WH = np.array([[18.0, 24.0], [9.0, 60.0], [60.0, 9.0], [10.0, 30.0], [10.0, 28.0], [91.0, 40.0]])


def test_limits_themselves_count() -> None:
    gen1 = BoxFilter(skip_us=500_000, min_diagonal_px=30, min_side_px=10)
    assert gen1.keep(SIDES_WH).tolist() == [True, False, False, True, False, True]
    assert [gen1.in_time(t_us) for t_us in (None, 499_999, 500_000)] == [True, False, True]
    assert BoxFilter().keep(SIDES_WH).all()


def test_boxes_to_train_on_are_not_as_wide_as_the_sensor() -> None:
    trained_on = BoxFilter(max_width_share=0.9)
    assert trained_on.keep(SIDES_WH, 100).tolist() == [True] * 5 + [False]
    with pytest.raises(ValueError, match=r"max_width_share=0\.9: a filter of the boxes to train on"):
        trained_on.keep(SIDES_WH)
    with pytest.raises(ValueError, match=r"max_width_share=1\.5: expected a share in \(0, 1\], or null"):
        BoxFilter(max_width_share=1.5)
