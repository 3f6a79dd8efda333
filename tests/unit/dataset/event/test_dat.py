"""Prophesee's DAT files."""

from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from event_data import SENSOR_HW, make_events
from expelliarmus import Wizard

from emsyolo.dataset.event.dat import write_dat
from emsyolo.dataset.event.events import Events
from emsyolo.dataset.event.recording import open_recording

HEADER = b"% Data file containing CD events.\n% Version 2\n% Date 2017-03-30 12:53:58\n% Height 240\n% Width 304\n"


def word(x: int, y: int, p: int) -> int:
    return x | y << 14 | p << 28


def dat(path: Path, rows: list[tuple[int, int, int, int]], header: bytes = HEADER, kind: bytes = b"\x00\x08") -> Path:
    """Written by hand, from the description of the format."""
    path.write_bytes(header + kind + b"".join(struct.pack("<II", t, word(x, y, p)) for t, x, y, p in rows))
    return path


def test_dat_by_hand(tmp_path: Path) -> None:
    recording = open_recording(dat(tmp_path / "a_td.dat", [(5, 303, 239, 1), (5, 0, 7, 0), (9, 12, 0, 1)]))
    assert (len(recording), recording.sensor_hw, recording.first_us, recording.last_us) == (3, (240, 304), 5, 9)
    events = recording.events()
    assert events.t.tolist() == [5, 5, 9]
    assert events.x.tolist() == [303, 0, 12]
    assert events.y.tolist() == [239, 7, 0]
    assert events.p.tolist() == [1, 0, 1]
    assert recording.window(5, 9).t.tolist() == [5, 5]
    assert recording.window(-100, 5).t.tolist() == []
    assert recording.window(6, 10**12).t.tolist() == [9]


def test_dat_written_is_read_by_another_reader(tmp_path: Path) -> None:
    events = make_events(1000)
    write_dat(tmp_path / "a.dat", events, SENSOR_HW)
    other = Wizard(encoding="dat").read(str(tmp_path / "a.dat"))
    again = open_recording(tmp_path / "a.dat")
    assert again.sensor_hw == SENSOR_HW
    for axis in "txyp":
        np.testing.assert_array_equal(other[axis], getattr(events, axis))
        np.testing.assert_array_equal(getattr(again.events(), axis), getattr(events, axis))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p.write_bytes(b"\x00\x08" + bytes(16)), r"byte 0: no header"),
        (lambda p: p.write_bytes(HEADER), rf"byte {len(HEADER)}: ends after the header"),
        (lambda p: dat(p, [(1, 2, 3, 1)], kind=b"\x00\x10"), rf"byte {len(HEADER)}: events of type 0 and 16 bytes"),
        (
            lambda p: dat(p, [(9, 1, 1, 1), (4, 1, 1, 1)]),
            rf"event 1 \(byte {len(HEADER) + 10}\): time runs back from 9",
        ),
        (lambda p: dat(p, [(1, 304, 3, 1)]), r"event 0 .* x=304, y=3 beyond the sensor"),
        (lambda p: dat(p, [(1, 3, 240, 1)]), r"event 0 .* x=3, y=240 beyond the sensor"),
    ],
)
def test_bad_dat_is_named_with_its_byte(tmp_path: Path, make: Callable[[Path], object], message: str) -> None:
    path = tmp_path / "bad_td.dat"
    make(path)
    with pytest.raises(ValueError, match=rf"bad_td\.dat.*{message}"):
        open_recording(path).check()


def test_a_clock_that_was_reset_shows_when_the_file_is_opened(tmp_path: Path) -> None:
    rows = [(t, 1, 1, 1) for t in (*range(0, 3000, 10), *range(0, 2000, 10))]
    with pytest.raises(ValueError, match=r"a_td\.dat: event 3\d\d .*time runs back"):
        open_recording(dat(tmp_path / "a_td.dat", rows))


@pytest.mark.parametrize("bad", range(3, 20))
def test_one_damaged_time_never_goes_unseen(tmp_path: Path, bad: int) -> None:
    rows = [(10 * i, 1, 1, 1) for i in range(400)]
    rows[bad * 13 + 1] = (0, 1, 1, 1)
    path = dat(tmp_path / "a_td.dat", rows)

    def read_all() -> None:
        recording = open_recording(path)
        for start, end in pairwise(range(0, 4001, 250)):
            recording.window(start, end)

    with pytest.raises(ValueError, match=rf"event {bad * 13 + 1} .*time runs back"):
        read_all()


def test_header_alone_is_an_empty_recording(tmp_path: Path) -> None:
    recording = open_recording(dat(tmp_path / "a_td.dat", []))
    assert len(recording) == 0
    assert len(recording.window(0, 10)) == 0


def test_cut_event_is_reported_and_the_rest_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = dat(tmp_path / "a_td.dat", [(1, 2, 3, 1), (2, 2, 3, 1)])
    path.write_bytes(path.read_bytes()[:-3])
    assert open_recording(path).events().t.tolist() == [1]
    assert f"at byte {len(HEADER) + 2 + 8}; the 1 whole events" in caplog.text


def evt2(words: list[int], header: bytes = b"% evt 2.0\n% end\n") -> bytes:
    return header + struct.pack(f"<{len(words)}I", *words)


def test_data_that_begin_with_a_percent_sign_are_data(tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    first = 8 << 28 | 0x25  # its lowest byte, which comes first, is that of %
    path.write_bytes(evt2([first, 1 << 28 | 5 << 22 | 10 << 11 | 20]))
    assert open_recording(path).events().t.tolist() == [0x25 * 64 + 5]
    path.write_bytes(evt2([first, 1 << 28 | 5 << 22 | 10 << 11 | 20], b"% evt 2.0\n"))
    assert open_recording(path).events().t.tolist() == [0x25 * 64 + 5]


def test_writer_refuses_what_the_format_cannot_hold(tmp_path: Path) -> None:
    events = make_events(10)
    back = Events(events.t[::-1].copy(), events.x, events.y, events.p)
    with pytest.raises(ValueError, match="ascend"):
        write_dat(tmp_path / "a.dat", back, SENSOR_HW)
    with pytest.raises(ValueError, match="within the sensor"):
        write_dat(tmp_path / "a.dat", events, (3, 3))
    assert not list(tmp_path.iterdir())
