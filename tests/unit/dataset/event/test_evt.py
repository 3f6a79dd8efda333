"""Prophesee's EVT2 and EVT3 streams."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from event_data import shared_data

from emsyolo.dataset.event.recording import open_recording


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
        (b"% evt 2.1\n", r"names EVT2\.1; .*metavision_file_to_dat -i"),
        (b"% format EVT4;height=720;width=1280\n", "names EVT4"),
    ],
)
def test_other_encodings_are_refused(tmp_path: Path, header: bytes, message: str) -> None:
    (tmp_path / "a.raw").write_bytes(header + bytes(16))
    with pytest.raises(ValueError, match=rf"a\.raw: cannot be read \(.*({message})"):
        open_recording(tmp_path / "a.raw")


def test_evt3_equals_its_decoded_truth() -> None:
    folder = shared_data() / "event_files"
    events = open_recording(folder / "evt3_sample.raw").events()
    truth = np.load(folder / "evt3_sample.npy", allow_pickle=False)
    for axis in "txyp":
        np.testing.assert_array_equal(getattr(events, axis), truth[axis])
