"""What a camera cannot have seen."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from emsyolo.dataset.event.sensor import drop_beyond, refuse_other_units


def test_a_tenth_beyond_the_sensor_is_said_once_and_more_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    path = Path("a tenth.dat")
    with caplog.at_level(logging.WARNING):
        drop_beyond(path, 10, 100, "event 3: x=90")
        drop_beyond(path, 2, 100, "event 3: x=90")
    assert caplog.messages == ["a tenth.dat: events beyond the sensor are left out, here 10 of 100"]
    with pytest.raises(ValueError, match=r"event 3: x=90 \(11 of 100 events read here; expected a recording of that"):
        drop_beyond(path, 11, 100, "event 3: x=90")


def test_more_events_than_a_camera_sends_are_of_another_unit() -> None:
    refuse_other_units(Path("short.npy"), 999, 0)  # too few to say
    refuse_other_units(Path("fast.npy"), 20_000, 999)
    with pytest.raises(ValueError, match=r"seconds\.npy: 20001 events within 999 us.*times in seconds or"):
        refuse_other_units(Path("seconds.npy"), 20_001, 999)
