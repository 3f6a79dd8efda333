"""HDF5 files from anywhere: what is refused, and in which words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from emsyolo.dataset.event.hdf5_file import OpenFile, reading

Write = Callable[[h5py.File, Path], object]


def outside(file: h5py.File, folder: Path) -> None:
    file.create_dataset("x", (4,), "i4", external=[(str(folder / "x.bin"), 0, 16)])


def linked(file: h5py.File, folder: Path) -> None:
    with h5py.File(folder / "other.h5", "w") as other:
        other["x"] = np.arange(4)
    file["x"] = h5py.ExternalLink("other.h5", "x")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda file, folder: file.create_group("y"), "no x; has y"),
        (lambda file, folder: None, "no x; has nothing"),
        (lambda file, folder: file.create_group("x"), "x is a group; expected a data set"),
        (outside, "the data of x lie in another file"),
        (linked, "the data of x lie in another file"),
        (
            lambda file, folder: file.create_dataset("x", data=[b"a", b"bc"], dtype=h5py.string_dtype()),
            "expected numbers",
        ),
        (
            lambda file, folder: file.create_dataset("x", (8,), "i4", chunks=(4,)),
            "x has 0 of 2 chunks; the file is cut",
        ),
        (lambda file, folder: file.create_dataset("x", (8,), "i4"), "x is shorter than it says"),
    ],
)
def test_what_is_no_data_set_of_this_file_is_refused(write: Write, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        write(file, tmp_path)
    with pytest.raises(ValueError, match=message), reading(path):
        OpenFile(path).dataset("x")


def test_parts_of_a_data_set(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.arange(10)
    opened = OpenFile(tmp_path / "a.h5")
    assert opened.dataset("x").shape == (10,)
    assert opened.part("x", 3, 6).tolist() == [3, 4, 5]


def test_whatever_the_library_says_becomes_one_line_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(b"no HDF5")
    with pytest.raises(ValueError, match=r"^[^\n]*a\.h5: [^\n]+$"), reading(path):
        OpenFile(path)()
    with pytest.raises(FileNotFoundError), reading(path):
        OpenFile(tmp_path / "none.h5")()
