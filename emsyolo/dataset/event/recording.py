"""Recordings of event cameras, whatever their file format."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import aedat
import numpy as np
from tonic.io import read_mnist_file

from emsyolo.dataset.event.dat import DatRecording
from emsyolo.dataset.event.events import Events
from emsyolo.dataset.event.evt import read_evt
from emsyolo.dataset.event.hdf5 import Hdf5Recording
from emsyolo.dataset.event.npy import MAX_TIME_US, SECONDS, read_npy, refuse_seconds, whole_numbers
from emsyolo.dataset.event.sensor import drop_beyond, refuse_other_units

MAX_SIDE = 2**16 - 1  # of a coordinate


class Recording(Protocol):
    """Events with random access by time.

    Attributes:
        path: of the file.
        sensor_hw: height and width of the sensor, px; None if neither the file nor the caller says.
    """

    path: Path
    sensor_hw: tuple[int, int] | None

    def __len__(self) -> int:
        """Number of events."""
        ...

    @property
    def first_us(self) -> int:
        """Time of the first event; 0 if there is none."""
        ...

    @property
    def last_us(self) -> int:
        """Time of the last event; 0 if there is none."""
        ...

    def window(self, start_us: int, end_us: int) -> Events:
        """The events with `start_us <= t < end_us`."""
        ...

    def events(self) -> Events:
        """All events."""
        ...

    def check(self) -> None:
        """Read everything once; a ValueError names what is wrong, and where."""
        ...


def open_recording(path: str | Path, sensor_hw: tuple[int, int] | None = None) -> Recording:
    """The recording in a file, by its suffix.

    `.dat` (Prophesee) is mapped into memory, `.h5` and `.hdf5` (`events/{x,y,p,t}`: DSEC, eTraM, RVT's copies) are read
    by blocks. The others are read whole: `.raw` (Prophesee EVT2 and EVT3, by
    expelliarmus), `.aedat4` (by aedat), `.npy` (`[E, 4]` t, x, y, p, or fields of these names; never unpickled), `.bin`
    and `.bs2` (five bytes per event, N-MNIST and N-Caltech101, by tonic).

    Args:
        path: of the file.
        sensor_hw: height and width of the sensor, px, where the file does not say.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an unknown suffix, a damaged file, or times that can hardly be microseconds; names the file and,
            where known, the byte or row.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: looked for a recording and found none")
    recording = _opened(path, sensor_hw)
    if path.suffix.lower() in ANY_UNIT:
        refuse_other_units(path, len(recording), recording.last_us - recording.first_us)
    return recording


def _opened(path: Path, sensor_hw: tuple[int, int] | None) -> Recording:
    suffix = path.suffix.lower()
    if suffix in BY_TIME:
        return BY_TIME[suffix](path, sensor_hw)
    if suffix not in READERS:
        raise ValueError(f"{path}: unknown suffix; expected one of {', '.join(SUFFIXES)}")
    try:
        events, size = READERS[suffix](path)
    except (OSError, RuntimeError, ValueError, LookupError, EOFError, TypeError, ArithmeticError, MemoryError) as error:
        text = str(error).removeprefix(f"{path}: ")
        raise ValueError(f"{path}: cannot be read ({' '.join(text.split())})") from error
    return LoadedRecording(path, events, size or sensor_hw)


class LoadedRecording:
    """A recording held in memory. A few events beyond the sensor are left out, with a warning.

    Args:
        path: of the file.
        events: all of them.
        sensor_hw: height and width of the sensor, px; None: coordinates are not checked.

    Raises:
        ValueError: time runs backwards or many events lie beyond the sensor; names file and event.
    """

    def __init__(self, path: Path, events: Events, sensor_hw: tuple[int, int] | None) -> None:
        self.path = path
        self.sensor_hw = sensor_hw
        self._events = events
        self.check()
        self._events = self._on_sensor()

    def __len__(self) -> int:
        return len(self._events)

    @property
    def first_us(self) -> int:
        """Time of the first event; 0 if there is none."""
        return int(self._events.t[0]) if len(self) else 0

    @property
    def last_us(self) -> int:
        """Time of the last event; 0 if there is none."""
        return int(self._events.t[-1]) if len(self) else 0

    def window(self, start_us: int, end_us: int) -> Events:
        """The events with `start_us <= t < end_us`, without a copy."""
        begin, end = np.searchsorted(self._events.t, (start_us, end_us))
        return self._events.select(slice(int(begin), max(int(begin), int(end))))

    def events(self) -> Events:
        """All events."""
        return self._events

    def check(self) -> None:
        """Raises ValueError if time runs backwards."""
        back = np.flatnonzero(np.diff(self._events.t) < 0)
        if len(back):
            at = int(back[0]) + 1
            t = self._events.t
            raise ValueError(f"{self.path}: event {at}: time runs back from {t[at - 1]} to {t[at]} us")

    def _on_sensor(self) -> Events:
        """The events within the sensor; raises ValueError as the constructor does."""
        if self.sensor_hw is None:
            return self._events
        height, width = self.sensor_hw
        inside = (self._events.x < width) & (self._events.y < height)
        if inside.all():
            return self._events
        at = int((~inside).argmax())
        first = f"event {at}: x={self._events.x[at]}, y={self._events.y[at]}"
        complaint = f"{self.path}: {first} beyond the sensor of {self.sensor_hw} (height, width) px"
        drop_beyond(self.path, int((~inside).sum()), len(inside), complaint)
        return self._events.select(inside)


def _from_fields(rows: Any, polarity: str = "p") -> Events:
    """Events from arrays by name (or a structured array): t, x, y and a polarity, which may be -1 and 1 as well."""
    sides = {side: whole_numbers(np.asarray(rows[side]), side, 0, MAX_SIDE) for side in "xy"}
    t = whole_numbers(np.asarray(rows["t"]), "t", 0, MAX_TIME_US, SECONDS)
    refuse_seconds(np.asarray(rows["t"]), "t")
    p = whole_numbers(np.asarray(rows[polarity]), "p", -1, 1, "; columns in another order?")
    return Events(t, sides["x"].astype(np.uint16), sides["y"].astype(np.uint16), (p > 0).astype(np.uint8))


def _raw(path: Path) -> tuple[Events, tuple[int, int] | None]:
    rows, size_hw = read_evt(path)
    return _from_fields(rows), size_hw


def _aedat4(path: Path) -> tuple[Events, tuple[int, int] | None]:
    try:
        with _nothing_said():
            decoder = aedat.Decoder(str(path))
            sizes = [value for value in decoder.id_to_stream().values() if value["type"] == "events"]
            packets = [packet["events"] for packet in decoder if "events" in packet]
    except BaseException as error:
        # What the decoder, written in Rust, raises on damaged data is no Exception.
        if type(error).__name__ == "PanicException":
            raise ValueError("damaged, or cut off") from error
        raise
    if len(sizes) != 1:
        raise ValueError(f"{len(sizes)} streams of events; expected one")
    size = (int(sizes[0]["height"]), int(sizes[0]["width"]))
    return _from_fields(np.concatenate(packets), "on") if packets else _none(), size


@contextmanager
def _nothing_said() -> Iterator[None]:
    """Without what libraries that are not Python's write to stderr: of damaged data, Rust's own traceback."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _npy(path: Path) -> tuple[Events, tuple[int, int] | None]:
    rows = read_npy(path)
    if rows.dtype.names is not None:
        missing = [name for name in ("t", "x", "y", "p") if name not in rows.dtype.names]
        if missing:
            raise ValueError(f"no field {', '.join(missing)}; has {', '.join(rows.dtype.names)}")
        return _from_fields(rows), None
    if rows.ndim != 2 or rows.shape[1] != 4:
        raise ValueError(f"an array {rows.shape}; expected [E, 4]: t, x, y, p")
    return _from_fields({name: rows[:, i] for i, name in enumerate("txyp")}), None


def _five_bytes(path: Path) -> tuple[Events, tuple[int, int] | None]:
    if path.stat().st_size % 5:
        raise ValueError(f"byte {path.stat().st_size // 5 * 5}: ends in the middle of an event of five bytes")
    rows = read_mnist_file(str(path), dtype=np.dtype([(name, np.int64) for name in "xytp"]))
    return _from_fields(rows), None


def _none() -> Events:
    return Events(np.empty(0, np.int64), np.empty(0, np.uint16), np.empty(0, np.uint16), np.empty(0, np.uint8))


READERS: dict[str, Callable[[Path], tuple[Events, tuple[int, int] | None]]] = {
    ".raw": _raw,
    ".aedat4": _aedat4,
    ".npy": _npy,
    ".bin": _five_bytes,
    ".bs2": _five_bytes,
}
BY_TIME: dict[str, Callable[[Path, tuple[int, int] | None], Recording]] = {
    ".dat": DatRecording,
    ".h5": Hdf5Recording,
    ".hdf5": Hdf5Recording,
}
SUFFIXES = (*BY_TIME, *READERS)
ANY_UNIT = (".npy", ".h5", ".hdf5")  # whose times are microseconds only by habit
