"""Moving digits before the simulated camera."""

from __future__ import annotations

import numpy as np

from emsyolo.dataset.event.moving_digits import LABELS_US, SENSOR_HW, moving_digits


def test_moving_digits_lie_where_their_boxes_say() -> None:
    take = moving_digits(0, "test")
    boxes = take.boxes
    assert set(boxes.t_us.tolist()) == set(LABELS_US)
    assert (boxes.boxes_xyxy[:, :2] >= 0).all()
    assert (boxes.boxes_xyxy[:, 2:] <= [SENSOR_HW[1], SENSOR_HW[0]]).all()
    last = boxes.select(boxes.t_us == LABELS_US[-1])
    events = take.events.select(take.events.t >= LABELS_US[-1] - 20_000)
    hit = np.zeros(len(events), dtype=bool)
    for x0, y0, x1, y1 in last.boxes_xyxy:
        hit |= (events.x >= x0 - 3) & (events.x < x1 + 3) & (events.y >= y0 - 3) & (events.y < y1 + 3)
    assert hit.mean() > 0.8
    again = moving_digits(0, "test")
    np.testing.assert_array_equal(again.events.t, take.events.t)
    assert len(moving_digits(1, "test").events) != len(take.events)
