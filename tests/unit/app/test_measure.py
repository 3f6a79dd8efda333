"""Figures about figures."""

from __future__ import annotations

from emsyolo.app.measure import steps_to


def test_first_step_at_which_a_share_of_the_ann_is_reached() -> None:
    by_time = {1: None, 4: 0.45, 16: 0.474, 64: 0.5}
    assert steps_to(by_time, 0.5) == {"90": 4, "95": 64, "99": 64}
    assert steps_to(by_time, 0.6) == {"90": None, "95": None, "99": None}
    for nothing in (0.0, None):
        assert steps_to(by_time, nothing) == {"90": None, "95": None, "99": None}
