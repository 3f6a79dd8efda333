"""Recordings of every kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from event_data import SENSOR_HW, make_events, shared_data

from emsyolo.dataset.event.dat import write_dat
from emsyolo.dataset.event.recording import open_recording


def test_unknown_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="looked for a recording"):
        open_recording(tmp_path / "a.dat")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ValueError, match=r"a\.txt: unknown suffix"):
        open_recording(tmp_path / "a.txt")
    (tmp_path / "a.raw").write_bytes(b"\x00" * 16)
    with pytest.raises(ValueError, match=r"a\.raw.*no header"):
        open_recording(tmp_path / "a.raw")


def test_five_bytes_per_event(tmp_path: Path) -> None:
    # x=3, y=4, on, t=0x012345; x=33, y=0, off, t=0x7fffff.
    (tmp_path / "1.bs2").write_bytes(bytes([3, 4, 0x81, 0x23, 0x45, 33, 0, 0x7F, 0xFF, 0xFF]))
    events = open_recording(tmp_path / "1.bs2", (34, 34)).events()
    assert events.t.tolist() == [0x012345, 0x7FFFFF]
    assert (events.x.tolist(), events.y.tolist(), events.p.tolist()) == ([3, 33], [4, 0], [1, 0])
    (tmp_path / "1.bs2").write_bytes(bytes(7))
    with pytest.raises(ValueError, match="byte 5: ends in the middle"):
        open_recording(tmp_path / "1.bs2")


@pytest.mark.parametrize(
    ("name", "count", "beyond_xy", "times"),
    [
        ("sample_ncars.dat", 2009, (77, 41), (0, 99_952)),
        ("evt2_sample.raw", 539_481, None, None),
        ("evt3_sample.raw", 219_596, (1279, 719), None),
        ("sample.aedat4", 111_954, (319, 239), None),
        ("ncaltech101_faces_easy_0001.bin", 67_445, None, None),
    ],
)
def test_files_of_other_tools(
    name: str, count: int, beyond_xy: tuple[int, int] | None, times: tuple[int, int] | None
) -> None:
    recording = open_recording(shared_data() / "event_files" / name)
    events = recording.events()
    assert len(events) == count
    if beyond_xy:
        assert (int(events.x.max()), int(events.y.max())) == beyond_xy
    if times:
        assert (recording.first_us, recording.last_us) == times


def test_cut_aedat4_is_refused(tmp_path: Path) -> None:
    content = (shared_data() / "event_files" / "sample.aedat4").read_bytes()
    (tmp_path / "a.aedat4").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"a\.aedat4: cannot be read"):
        open_recording(tmp_path / "a.aedat4")


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (np.arange(1000) // 500, "1000 events within 1 us, more than any camera sends"),
        (np.linspace(0, 2, 1000), r"row 1: t is 0\.002.*; expected a whole number; times in seconds"),
        (np.arange(100.0) // 10, "t is float64, from 0 to 9; expected microseconds; times in seconds"),
    ],
)
def test_times_in_seconds_are_refused(tmp_path: Path, times: np.ndarray, message: str) -> None:
    np.save(tmp_path / "a.npy", np.stack([times, *(np.zeros((3, len(times)), times.dtype))], axis=1))
    with pytest.raises(ValueError, match=rf"a\.npy.*{message}"):
        open_recording(tmp_path / "a.npy")


def test_suffixes_in_capitals(tmp_path: Path) -> None:
    events = make_events(500)
    write_dat(tmp_path / "a.DAT", events, SENSOR_HW)
    np.save(tmp_path / "a.npy", np.stack([events.t, events.x, events.y, events.p], axis=1))
    (tmp_path / "a.npy").rename(tmp_path / "b.NPY")
    for name in ("a.DAT", "b.NPY"):
        assert len(open_recording(tmp_path / name, SENSOR_HW)) == 500


def test_few_events_beyond_the_sensor_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    events = make_events(500)
    write_dat(tmp_path / "a.dat", events, (48, 64))
    words = bytearray((tmp_path / "a.dat").read_bytes())
    words[-4:] = (92).to_bytes(4, "little")  # the last event at x=92, y=0
    (tmp_path / "a.dat").write_bytes(bytes(words))
    assert len(open_recording(tmp_path / "a.dat").events()) == 499
    assert "a.dat: events beyond the sensor are left out, here 1 of 500" in caplog.text
    with pytest.raises(ValueError, match=r"a\.dat: event 499 .*x=92, y=0 beyond the sensor.*1 of 1 events"):
        open_recording(tmp_path / "a.dat").window(int(events.t[-1]), 10**6)
