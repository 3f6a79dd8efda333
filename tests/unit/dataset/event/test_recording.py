"""DAT files, other formats, box files: what is read, and what is refused."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from event_data import SENSOR_HW, make_events, shared_data
from expelliarmus import Wizard
from numpy.typing import NDArray

from emsyolo.dataset.event.boxes import DTYPE, EventBoxes, last_per_track, read_boxes, write_boxes
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


def test_npy_forms(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[10, 3, 4, 1], [12, 5, 6, 0]]))
    rows = np.zeros(2, dtype=[("x", "u2"), ("y", "u2"), ("p", "i1"), ("t", "i8")])
    rows["t"], rows["x"], rows["y"], rows["p"] = [10, 12], [3, 5], [4, 6], [1, -1]
    np.save(tmp_path / "b.npy", rows)
    for name in ("a.npy", "b.npy"):
        events = open_recording(tmp_path / name).events()
        assert (events.t.tolist(), events.x.tolist(), events.y.tolist(), events.p.tolist()) == (
            [10, 12], [3, 5], [4, 6], [1, 0],
        )  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((3, 5)), r"expected \[E, 4\]"),
        (np.array([{"t": 1}], dtype=object), "cannot be read"),
        (np.array([[1, -2, 3, 1]]), "row 0: x is -2; expected 0 to 65535"),
        (np.array([[5, 2, 3, 1], [4, 2, 3, 1]]), "event 1: time runs back"),
    ],
)
def test_bad_npy(tmp_path: Path, rows: NDArray, message: str) -> None:
    np.save(tmp_path / "a.npy", rows)
    with pytest.raises(ValueError, match=rf"a\.npy.*{message}"):
        open_recording(tmp_path / "a.npy")


class Touch:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("read", [open_recording, read_boxes])
@pytest.mark.parametrize("bare", [True, False])
def test_a_hostile_pickle_runs_nothing(tmp_path: Path, read: Callable[[Path], object], bare: bool) -> None:
    marker, path = tmp_path / "ran", tmp_path / "a_bbox.npy"
    if bare:
        path.write_bytes(pickle.dumps(Touch(marker)))
    else:
        np.save(path, np.array([Touch(marker)], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"a_bbox\.npy: cannot be read"):
        read(path)
    assert not marker.exists()


def npy_header(shape: str, descr: str = "'<i8'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize("read", [open_recording, read_boxes])
@pytest.mark.parametrize(
    "content",
    [
        npy_header("(1000000000000, 4)") + bytes(32),
        npy_header("(-1, 4)"),
        npy_header("(9999999999999999999, 4)"),
        npy_header("(1000000000000,)", "'|V0'"),
        npy_header("(2, 4)") + bytes(63),
        npy_header("()") + bytes(8),
        npy_header("(3,)", "[('t', '<i8', (9,)), ('x', '<i8'), ('y', '<i8'), ('p', '<i8')]") + bytes(288),
        npy_header("(" * 500 + ")" * 500),
        b"PK\x03\x04" + bytes(100),
        b"t,x,y,p\n1,2,3,1\n",
        b"",
    ],
)
def test_headers_that_lie_take_no_memory(tmp_path: Path, read: Callable[[Path], object], content: bytes) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.npy: ") as caught:
        read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.array([[0.5, 2, 3, 1]]), "t is 0.5; expected a whole number; times in seconds"),
        (np.array([[5, 2, 3, 7]]), "p is 7; expected -1 to 1"),
        (np.array([[-5, 2, 3, 1]]), "t is -5; expected 0"),
        (np.array([[1e300, 2, 3, 1]]), "t is 1e.300; expected 0"),
        (np.array([[1, 2, 3, np.nan]]), "p is nan"),
        (np.array([[5, 70_000, 3, 1]]), "x is 70000; expected 0 to 65535"),
        (np.array([["a", "b", "c", "d"]]), "expected a number in each row"),
    ],
)
def test_tables_of_other_numbers(tmp_path: Path, rows: NDArray, message: str) -> None:
    np.save(tmp_path / "a.npy", rows)
    with pytest.raises(ValueError, match=rf"a\.npy: .*{message}"):
        open_recording(tmp_path / "a.npy")


def test_boxes_at_times_in_seconds_are_refused(tmp_path: Path) -> None:
    rows = np.zeros(2, dtype=[(name, "f8") for name in ("t", "x", "y", "w", "h", "class_id", "track_id")])
    rows["t"] = [0.25, 0.5]
    np.save(tmp_path / "a_bbox.npy", rows)
    with pytest.raises(ValueError, match=r"a_bbox\.npy: row 0: t is 0\.25; .*times in seconds"):
        read_boxes(tmp_path / "a_bbox.npy")


def evt2(words: list[int], header: bytes = b"% evt 2.0\n% end\n") -> bytes:
    return header + struct.pack(f"<{len(words)}I", *words)


def test_evt2_by_hand(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.raw"
    words = [8 << 28 | 3, 1 << 28 | 5 << 22 | 10 << 11 | 20, 0 << 28 | 6 << 22 | 11 << 11 | 21]
    path.write_bytes(evt2(words, b"% camera of M\xfcller\n% format EVT2;height=240;width=304\n% end\n"))
    recording = open_recording(path)
    assert recording.sensor_hw == (240, 304)
    events = recording.events()
    assert (events.t.tolist(), events.x.tolist(), events.y.tolist(), events.p.tolist()) == (
        [3 * 64 + 5, 3 * 64 + 6], [10, 11], [20, 21], [1, 0],
    )  # fmt: skip
    path.write_bytes(evt2(words) + b"\x01\x02")
    assert len(open_recording(path)) == 2
    assert f"ends in the middle of a word, at byte {len(evt2([])) + 12}" in caplog.text
    path.write_bytes(evt2([words[0], words[2], words[1]]))
    with pytest.raises(
        ValueError, match=r"a\.raw: cannot be read \(event 1 \(byte 24\): time runs back from 198 to 197"
    ):
        open_recording(path)


def test_data_that_begin_with_a_percent_sign_are_data(tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    first = 8 << 28 | 0x25  # its lowest byte, which comes first, is that of %
    path.write_bytes(evt2([first, 1 << 28 | 5 << 22 | 10 << 11 | 20]))
    assert open_recording(path).events().t.tolist() == [0x25 * 64 + 5]
    path.write_bytes(evt2([first, 1 << 28 | 5 << 22 | 10 << 11 | 20], b"% evt 2.0\n"))
    assert open_recording(path).events().t.tolist() == [0x25 * 64 + 5]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"", "no header line"),
        (b"% date today\n", "names no encoding"),
        (b"% evt 2.1\n", "names EVT2.1|names EVT21"),
        (b"% format EVT4;height=720;width=1280\n", "names EVT4"),
    ],
)
def test_other_encodings_are_refused(tmp_path: Path, header: bytes, message: str) -> None:
    (tmp_path / "a.raw").write_bytes(header + bytes(16))
    with pytest.raises(ValueError, match=rf"a\.raw: cannot be read \(.*({message})"):
        open_recording(tmp_path / "a.raw")


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


def test_evt3_equals_its_decoded_truth() -> None:
    folder = shared_data() / "event_files"
    events = open_recording(folder / "evt3_sample.raw").events()
    truth = np.load(folder / "evt3_sample.npy", allow_pickle=False)
    for axis in "txyp":
        np.testing.assert_array_equal(getattr(events, axis), truth[axis])


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


def test_writer_refuses_what_the_format_cannot_hold(tmp_path: Path) -> None:
    events = make_events(10)
    back = Events(events.t[::-1].copy(), events.x, events.y, events.p)
    with pytest.raises(ValueError, match="ascend"):
        write_dat(tmp_path / "a.dat", back, SENSOR_HW)
    with pytest.raises(ValueError, match="within the sensor"):
        write_dat(tmp_path / "a.dat", events, (3, 3))
    assert not list(tmp_path.iterdir())
