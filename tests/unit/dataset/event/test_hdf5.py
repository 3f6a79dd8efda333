"""Events in HDF5 files: windows against all events in memory, the files' oddities, and what is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest
from event_data import SENSOR_HW, make_events
from hdf5_data import write_dsec, write_h5

from emsyolo.dataset.event import hdf5
from emsyolo.dataset.event.events import Events
from emsyolo.dataset.event.recording import open_recording

EDGES = [-5, 0, 1, 999, 1000, 1001, 40_000, 40_001, 77_777, 99_999, 100_000, 10**9]


def same(found: Events, expected: Events) -> None:
    for axis in "txyp":
        assert getattr(found, axis).dtype == getattr(expected, axis).dtype, axis
        np.testing.assert_array_equal(getattr(found, axis), getattr(expected, axis), err_msg=axis)


def between(events: Events, start_us: int, end_us: int) -> Events:
    return events.select((events.t >= start_us) & (events.t < end_us))


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "BLOCK", 1024)


@pytest.mark.parametrize("chunk", [64, 100, 512, 5000])
@pytest.mark.parametrize("types", ["i8 u2 u2 i2", "u4 u2 u2 u1", "i8 i2 i4 ?", "u8 u2 u2 i1"])
def test_windows_are_those_of_all_events(tmp_path: Path, chunk: int, types: str) -> None:
    events = make_events(5000)
    path = write_h5(tmp_path / "a_td.h5", events, chunk=chunk, sensor_hw=SENSOR_HW, types=types)
    recording = open_recording(path)
    assert (len(recording), recording.sensor_hw) == (5000, SENSOR_HW)
    assert (recording.first_us, recording.last_us) == (int(events.t[0]), int(events.t[-1]))
    for start, end in [*pairwise(EDGES), (5, 3)]:
        same(recording.window(start, end), between(events, start, end))
    same(recording.events(), events)
    recording.check()


def test_dsec_adds_its_offset_and_finds_windows_by_milliseconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    offset = 49_599_300_523
    early = make_events(5000)
    events = Events(early.t + offset, early.x, early.y, early.p)
    recording = open_recording(write_dsec(tmp_path / "events.h5", events, offset), SENSOR_HW)
    assert recording.sensor_hw == SENSOR_HW
    assert (recording.first_us, recording.last_us) == (int(events.t[0]), int(events.t[-1]))
    for start, end in pairwise(EDGES):
        same(recording.window(start + offset, end + offset), between(events, start + offset, end + offset))
    assert not (tmp_path / "cache").exists()  # no index is built where the file has one


def test_contiguous_columns_and_signed_polarity(tmp_path: Path) -> None:
    events = make_events(3000)
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        for name in "txy":
            file[f"events/{name}"] = getattr(events, name)
        file["events/p"] = events.p.astype(np.int8) * 2 - 1
        file["height"], file["width"] = np.int64(SENSOR_HW[0]), np.array([SENSOR_HW[1]])
    recording = open_recording(tmp_path / "a.hdf5")
    assert recording.sensor_hw == SENSOR_HW
    same(recording.window(20_000, 30_000), between(events, 20_000, 30_000))


def test_times_that_run_back_are_raised_to_the_latest_before(tmp_path: Path) -> None:
    events = make_events(4000)
    jittered = events.t.copy()
    jittered[[1500, 1023, 1024, 2047]] -= [30_000, 1000, 900, 5]
    path = write_h5(tmp_path / "a.h5", Events(jittered, events.x, events.y, events.p), sensor_hw=SENSOR_HW)
    raised = Events(np.maximum.accumulate(jittered), events.x, events.y, events.p)
    recording = open_recording(path)
    for start, end in [*pairwise(range(0, 100_001, 2500)), (0, 100_000)]:
        same(recording.window(start, end), between(raised, start, end))


def test_the_index_of_times_is_kept_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = write_h5(tmp_path / "a.h5", make_events(5000), sensor_hw=SENSOR_HW)
    open_recording(path).window(0, 50_000)
    (index,) = (tmp_path / "cache" / "emsyolo" / "times").iterdir()
    assert index.stat().st_size < 500
    other = make_events(5000, seed=1)
    write_h5(path, other, sensor_hw=SENSOR_HW)
    same(open_recording(path).window(10_000, 50_000), between(other, 10_000, 50_000))
    index.write_bytes(b"damaged")
    same(open_recording(path).window(10_000, 50_000), between(other, 10_000, 50_000))


def test_few_events_beyond_the_sensor_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    events = make_events(3000)
    x = events.x.copy()
    x[[7, 1700]] = (92, 64)
    path = write_h5(tmp_path / "a.h5", Events(events.t, x, events.y, events.p), sensor_hw=SENSOR_HW)
    recording = open_recording(path)
    inside = np.delete(np.arange(3000), [7, 1700])
    same(recording.events(), events.select(inside))
    recording.window(0, 100_000)
    assert caplog.text.count("events beyond the sensor are left out, here 2 of 3000") == 1
    smaller = open_recording(write_h5(tmp_path / "b" / "a.h5", events), (24, 32))
    with pytest.raises(ValueError, match=r"a\.h5: event \d+: x=\d+, y=\d+ beyond the sensor of \(24, 32\)"):
        smaller.events()


def test_a_handle_is_opened_in_the_process_that_reads(tmp_path: Path) -> None:
    events = make_events(3000)
    recording = open_recording(write_h5(tmp_path / "a.h5", events, sensor_hw=SENSOR_HW))
    recording.window(0, 1000)
    child = os.fork()
    if not child:
        ok = recording.window(50_000, 60_000).t.tolist() == between(events, 50_000, 60_000).t.tolist()
        os._exit(0 if ok else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_an_empty_recording(tmp_path: Path) -> None:
    recording = open_recording(write_h5(tmp_path / "a.h5", make_events(0), sensor_hw=SENSOR_HW))
    assert (len(recording), recording.first_us, recording.last_us) == (0, 0, 0)
    assert len(recording.window(0, 10)) == len(recording.events()) == 0


def change(path: Path, edit: Callable[[h5py.File], object]) -> None:
    with h5py.File(path, "r+") as file:
        edit(file)


def replaced(name: str, value: object) -> Callable[[h5py.File], object]:
    def edit(file: h5py.File) -> None:
        del file[name]
        if value is not None:
            file[name] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (replaced("events/p", None), "no events/p"),
        (replaced("events/x", np.zeros(7, np.uint16)), "events/x has 7 numbers, events/t 3000"),
        (replaced("events/t", np.linspace(0, 1, 3000)), r"events/t is float64 .*times in seconds\? Multiply"),
        (replaced("events/t", np.arange(3000) // 1500), "3000 events within 1 us, more than any camera sends"),
        (replaced("events/p", np.full(3000, 7)), "event 0: t=.*, p=7; expected .* p -1, 0 or 1"),
        (replaced("events/p", h5py.SoftLink("/events")), "events/p is a group; expected a data set"),
        (replaced("events/height", 0.5), "events/height is float64"),
        (replaced("events/height", 0), r"height and width are \[0, 64\]"),
        (replaced("events", None), "no group events; has nothing"),
    ],
)
def test_what_is_no_recording_is_refused(tmp_path: Path, edit: Callable[[h5py.File], object], message: str) -> None:
    path = write_h5(tmp_path / "a.h5", make_events(3000), sensor_hw=SENSOR_HW)
    change(path, edit)
    with pytest.raises(ValueError, match=rf"a\.h5: {message}"):
        open_recording(path).check()


def test_prophesees_own_codec_is_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["CD/events"] = np.zeros(4, dtype=[("x", "u2"), ("y", "u2"), ("p", "i2"), ("t", "i8")])
    with pytest.raises(ValueError, match=r"a\.hdf5: .*ECF codec.*metavision_file_to_dat -i a\.hdf5"):
        open_recording(tmp_path / "a.hdf5")


def test_data_of_other_files_are_not_read(tmp_path: Path) -> None:
    events = make_events(3000)
    secret = write_h5(tmp_path / "secret.h5", events)
    path = write_h5(tmp_path / "a.h5", events)
    change(path, replaced("events/x", h5py.ExternalLink(str(secret), "/events/x")))
    with pytest.raises(ValueError, match=r"a\.h5: the data of events/x lie in another file"):
        open_recording(path)


def test_a_list_of_milliseconds_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = write_dsec(tmp_path / "events.h5", make_events(5000), 0)
    change(path, lambda file: file["ms_to_idx"].write_direct(np.roll(file["ms_to_idx"][:], 20)))
    with pytest.raises(ValueError, match=r"events\.h5: ms_to_idx\[50\] does not fit the times"):
        open_recording(path).window(50_500, 60_000)
    with pytest.raises(ValueError, match=r"events\.h5: ms_to_idx\[19\] is \d+, the next 0"):
        open_recording(path).window(19_500, 60_000)


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = write_h5(tmp_path / "a.h5", make_events(3000))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ValueError, match=r"a\.h5: "):
        open_recording(path).check()
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"a\.h5: "):
        open_recording(path)
