"""Tables of events as numpy writes them."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from emsyolo.dataset.event.boxes import read_boxes
from emsyolo.dataset.event.recording import open_recording


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
