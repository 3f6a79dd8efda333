"""NumPy's files from anywhere: nothing is unpickled, and nothing is made that the file does not hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

MAX_TIME_US = 2**62  # sums and differences of two such times fit into 64 bits
EXACT = 2**53  # beyond it float64 skips whole numbers
MAX_NPZ_BYTES = 1 << 30
LEAST_FLOAT_US = 1000  # no recording is shorter, and none in seconds is longer
SECONDS = "; times in seconds? Multiply them by 1e6"


def read_npy(path: Path) -> NDArray[Any]:
    """The array of a `.npy` file, in memory.

    A shape that needs more bytes than the file has is refused before any memory is taken.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not NumPy's format, pickled objects, a file that is shorter than it says; the message is the reason.
    """
    return np.array(_mapped(path))


def first_and_last(path: Path) -> tuple[int, int]:
    """Times of the first and the last of the events `[E, 4]` t, x, y, p in a `.npy` file; only these two are read.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another array, no event, or times that run back; the message is the reason.
    """
    rows = _mapped(path)
    if rows.ndim != 2 or rows.shape[1] != 4 or not len(rows):
        raise ValueError(f"an array {rows.shape}; expected [E, 4]: t, x, y, p of at least one event")
    ends = whole_numbers(np.array(rows[[0, -1], 0]), "t", 0, MAX_TIME_US, SECONDS)
    if ends[1] < ends[0]:
        raise ValueError(f"time runs back from {ends[0]} to {ends[1]} us")
    return int(ends[0]), int(ends[1])


def read_npz(path: Path, names: Sequence[str]) -> list[NDArray[Any]]:
    """Arrays of a `.npz` file, in memory.

    An archive that unpacks to more than a GiB is refused before any of it is.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, pickled objects, or an array that is missing; the message is the reason.
    """
    try:
        with ZipFile(path) as archive:
            size = sum(one.file_size for one in archive.infolist())
        if size > MAX_NPZ_BYTES:
            raise ValueError(f"it unpacks to {size} bytes; expected at most {MAX_NPZ_BYTES}")
        with np.load(path, allow_pickle=False) as arrays:
            missing = [name for name in names if name not in arrays]
            if missing:
                raise ValueError(f"no array {', '.join(missing)}; has {', '.join(arrays) or 'none'}")
            return [np.asarray(arrays[name]) for name in names]
    except FileNotFoundError:
        raise
    except Exception as error:  # zlib, zipfile and NumPy fail in many ways
        raise ValueError(f"not a whole .npz file: {' '.join(str(error).split())[:200]}") from error


def _mapped(path: Path) -> NDArray[Any]:
    try:
        mapped = np.lib.format.open_memmap(path, mode="r")
        if mapped.dtype.itemsize == 0:
            raise ValueError(f"an array of {mapped.dtype}; expected numbers")
        return mapped
    except FileNotFoundError:
        raise
    except Exception as error:  # NumPy evaluates the header as Python's literals, which may fail in any way
        if "object" in str(error).lower():
            raise ValueError("it holds pickled objects, which are never loaded") from error
        raise ValueError(f"not a whole file of NumPy's: {' '.join(str(error).split())[:200]}") from error


def refuse_seconds(times: NDArray[Any], called: str) -> None:
    """Refuse whole times that are kept as floats and differ by less than a millisecond, as seconds do.

    Raises:
        ValueError: names the first and the last.
    """
    if times.dtype.kind == "f" and len(times) and 0 < np.ptp(times) < LEAST_FLOAT_US:
        raise ValueError(
            f"{called} is {times.dtype}, from {times.min():g} to {times.max():g}; expected microseconds{SECONDS}"
        )


def whole_numbers(column: NDArray[Any], called: str, low: int, high: int, hint: str = "") -> NDArray[np.int64]:
    """A column of whole numbers, whatever type of number a file keeps them in.

    Args:
        column: `[M]`.
        called: what a message calls it.
        low: least value.
        high: greatest value.
        hint: the end of a message on a number that is not whole.

    Raises:
        ValueError: not one number per row, a number that is not whole, or outside the range; names row and value.
    """
    if column.ndim != 1 or column.dtype.kind not in "biuf":
        raise ValueError(f"{called} is {column.dtype} {column.shape}; expected a number in each row")
    if column.dtype.kind == "f":
        odd = ~np.isfinite(column) | (column != np.floor(column))
        if odd.any():
            row = int(odd.argmax())
            raise ValueError(f"row {row}: {called} is {column[row]}; expected a whole number{hint}")
        low, high = max(low, -EXACT), min(high, EXACT)
    odd = (column < low) | (column > high)
    if odd.any():
        row = int(odd.argmax())
        raise ValueError(f"row {row}: {called} is {column[row]}; expected {low} to {high}")
    return column.astype(np.int64)
